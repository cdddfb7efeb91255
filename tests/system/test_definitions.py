"""Definitions through the front door: applied, planned, guarded, refused while in use."""

from __future__ import annotations

import pytest

from contracts.codec import JsonObject, decode_object
from tests.support.talking import Talk, assert_problem, objects, part

pytestmark = pytest.mark.timeout(240)


def _documents(name: str, points: int = 5) -> list[dict[str, object]]:
    rule = {"id": "visit", "on": {"event": name}, "points": points}
    return [
        {"kind": "event_type", "name": name, "spec": {"properties": {"size": {"type": "integer"}}}},
        {"kind": "loyalty_program", "name": name, "spec": {"earning_rules": [rule]}},
    ]


def _apply(talk: Talk, documents: object, query: str = "") -> JsonObject:
    answer = talk.ask("POST", f"/v1/definitions{query}", documents)
    assert answer.status == 200, answer.body
    return decode_object(answer.body)


def test_what_is_applied_is_in_force_for_the_events_that_ask_for_it(talk: Talk, name: str) -> None:
    revision = {"Upshot-Definitions-Revision": str(_apply(talk, _documents(name))["revision"])}

    visit = {"event": name, "customer": {"source_id": name}, "metadata": {"size": 3}}
    told = talk.ask("POST", "/v1/events", visit, headers=revision)

    assert told.status == 200, told.body
    assert talk.points(name, told.headers["upshot-position"], program=name) == 5
    wrong = talk.ask("POST", "/v1/events", {**visit, "metadata": {"size": "big"}}, headers=revision)
    assert_problem(wrong, 400, "/metadata/size")


def test_a_dry_run_tells_the_plan_and_changes_nothing(talk: Talk, name: str) -> None:
    _apply(talk, _documents(name))
    changed = [*_documents(name, points=7), {**_documents(name)[0], "name": f"{name}-new"}]

    plan = _apply(talk, changed, "?dry_run=true")

    assert [each["name"] for each in objects(plan["created"])] == [f"{name}-new"]
    assert [each["kind"] for each in objects(plan["changed"])] == ["loyalty_program"]
    assert [each["kind"] for each in objects(plan["unchanged"])] == ["event_type"]
    assert_problem(talk.ask("GET", f"/v1/definitions/event_type/{name}-new"), 404)
    stands = talk.read(f"/v1/definitions/loyalty_program/{name}")
    assert part(stands, "spec", "earning_rules", 0, "points") == 5


def test_yaml_is_applied_like_json_and_all_or_none(talk: Talk, name: str) -> None:
    document = f"kind: event_type\nname: {name}\nspec: {{}}\n"
    yaml = {"Content-Type": "application/yaml"}

    broken = f"{document}---\nkind: loyalty_program\nname: {name}\nspec: {{earning_rules: 5}}\n"
    refused = talk.ask("POST", "/v1/definitions", broken.encode(), headers=yaml)
    assert_problem(refused, 400, "/1/spec/earning_rules")
    assert_problem(talk.ask("GET", f"/v1/definitions/event_type/{name}"), 404)

    taken = talk.ask("POST", "/v1/definitions", document.encode(), headers=yaml)
    assert taken.status == 200, taken.body
    assert talk.read(f"/v1/definitions/event_type/{name}")["name"] == name


def test_a_change_of_another_revision_than_it_names_is_refused(talk: Talk, name: str) -> None:
    first = talk.put("event_type", name, {})
    path = f"/v1/definitions/event_type/{name}"
    optional = {"properties": {"size": {"type": "integer"}}}

    taken = talk.ask("PUT", path, optional, headers={"If-Match": str(first)})
    late = talk.ask("PUT", path, {}, headers={"If-Match": str(first)})

    assert taken.status == 200, taken.body
    assert_problem(late, 409)
    revisions = talk.listed(f"{path}/revisions")
    assert [each["revision"] for each in revisions] == [
        decode_object(taken.body)["revision"],
        first,
    ]


def test_what_another_definition_uses_is_not_deleted(talk: Talk, name: str) -> None:
    _apply(talk, _documents(name))

    refused = talk.ask("DELETE", f"/v1/definitions/event_type/{name}")
    assert name in str(assert_problem(refused, 409)["errors"])

    for kind in ("loyalty_program", "event_type"):
        gone = talk.ask("DELETE", f"/v1/definitions/{kind}/{name}")
        assert gone.status == 200, gone.body
        assert_problem(talk.ask("GET", f"/v1/definitions/{kind}/{name}"), 404)


def test_a_reference_to_something_undefined_is_refused_with_its_pointer(
    talk: Talk, name: str
) -> None:
    spec = {"earning_rules": [{"id": "x", "on": {"event": f"{name}-none"}, "points": 5}]}

    answer = talk.ask("PUT", f"/v1/definitions/loyalty_program/{name}", spec)

    assert_problem(answer, 400, "/earning_rules/0/on/event")


def test_a_change_that_refuses_stored_events_is_refused_with_examples(
    talk: Talk, name: str
) -> None:
    talk.put("event_type", name, {"properties": {"size": {"type": "integer"}}})
    told = talk.tell(name, name, metadata={"size": 3})
    talk.read(f"/v1/events/{told.id}", told.position)
    path, narrower = (
        f"/v1/definitions/event_type/{name}",
        {"properties": {"size": {"type": "boolean"}}},
    )

    refused = talk.ask("PUT", path, narrower)
    problem = assert_problem(refused, 409)

    assert problem["type"] == "urn:upshot:problem:incompatible-schema"
    assert talk.ask("PUT", f"{path}?compatibility=none", narrower).status == 200


def test_secrets_of_endpoints_are_told_once_and_never_again(talk: Talk, name: str) -> None:
    made = talk.ask(
        "PUT",
        f"/v1/definitions/endpoint/{name}",
        {"url": "https://example.com/hook", "headers": {"X-Key": "very-secret-value"}},
    )
    assert made.status in {200, 201}, made.body
    secret = str(decode_object(made.body)["secret"])

    stands = talk.ask("GET", f"/v1/definitions/endpoint/{name}")

    assert secret.startswith("whsec_")
    assert secret.encode() not in stands.body and b"very-secret-value" not in stands.body
