"""Definitions over HTTP, on real Kafka and Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from contracts.codec import decode_record
from services.runtime.definitions import DefinitionsFollower
from services.runtime.kafka.consumer import Consumer
from tests.integration.api_process import RunningApi, running_api

LEFT_REVIEW = {"properties": {"review_type": {"type": "string", "required": True}}}


@pytest.fixture
async def api(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[RunningApi]:
    async with running_api(kafka, database, topic_prefix) as running:
        yield running


async def test_a_definition_is_written_read_and_relayed(
    api: RunningApi, kafka: str, topic_prefix: str
) -> None:
    put = await api.admin.put("/v1/definitions/event_type/left_review", LEFT_REVIEW)
    got = await api.admin.get("/v1/definitions/event_type/left_review")

    assert (put.status, got.status) == (200, 200), put.content
    assert put.json()["revision"] == got.json()["revision"] == 1
    assert got.json()["spec"] == LEFT_REVIEW
    consumer = Consumer(kafka, "definitions", prefix=topic_prefix)
    await consumer.assign({0: 0})
    try:
        (found,) = await consumer.poll(0, records_max=10, timeout_ms=5_000)
    finally:
        await consumer.stop()
    record = decode_record(found.value)
    assert found.key == b"event_type/left_review"
    assert (record.definitionsrevision, record.workspace) == (1, "demo")
    assert (record.type, record.subject) == ("definition.changed", "event_type/left_review")


async def test_the_same_spec_makes_no_new_revision(api: RunningApi) -> None:
    path = "/v1/definitions/event_type/left_review"
    await api.admin.put(path, LEFT_REVIEW)

    again = await api.admin.put(path, LEFT_REVIEW)

    assert (again.status, again.json()["revision"]) == (200, 1)
    assert len((await api.admin.get(f"{path}/revisions")).json()["data"]) == 1


async def test_a_revision_guards_a_replacement(api: RunningApi) -> None:
    path = "/v1/definitions/event_type/left_review"

    first = await api.admin.put(path, LEFT_REVIEW, if_match="0")
    stale = await api.admin.put(path, {}, if_match="0")
    current = await api.admin.put(path, {}, if_match='"1"')

    assert [each.status for each in (first, stale, current)] == [200, 409, 200]
    assert stale.json()["key"] == "revision_conflict"
    assert current.json()["revision"] == 2


async def test_an_apply_of_yaml_is_planned_then_done_whole(api: RunningApi) -> None:
    text = b"""
kind: distribution
name: thanks
spec:
  on: {event: left_review}
  endpoint: shop
---
kind: endpoint
name: shop
spec: {url: "https://shop.example/hooks"}
---
kind: event_type
name: left_review
spec: {}
"""

    async def apply(query: str = "") -> Any:
        answer = await api.admin.send(
            "POST", f"/v1/definitions{query}", text, media="application/yaml"
        )
        assert answer.status == 200, answer.content
        return answer.json()

    planned = await apply("?dry_run=true")
    nothing = await api.admin.get("/v1/definitions/event_type/left_review")
    done = await apply()
    again = await apply()

    assert nothing.status == 404
    assert planned["revision"] == 0
    assert done["revision"] == again["revision"] == 3
    names = ["left_review", "shop", "thanks"]
    assert sorted(each["name"] for each in planned["created"]) == names
    assert sorted(each["name"] for each in again["unchanged"]) == names
    secrets = [each["secret"] for each in done["created"] if "secret" in each]
    assert [each.startswith("whsec_") for each in secrets] == [True]
    assert "secret" not in str(planned)


async def test_an_undefined_reference_is_named_by_its_pointer(api: RunningApi) -> None:
    documents: list[object] = [
        {"kind": "event_type", "name": "signed_up", "spec": {}},
        {"kind": "distribution", "name": "d", "spec": {"on": {"event": "nobody_sends"}}},
    ]

    answer = await api.admin.post("/v1/definitions", documents)

    assert answer.status == 400
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/1/spec/on/event"]
    assert (await api.admin.get("/v1/definitions/event_type/signed_up")).status == 404


async def test_what_is_in_use_is_not_deleted(api: RunningApi) -> None:
    await api.admin.put("/v1/definitions/event_type/left_review", {})
    spec = {"on": {"event": "left_review"}}
    await api.admin.put("/v1/definitions/distribution/thanks", spec)

    refused = await api.admin.delete("/v1/definitions/event_type/left_review")
    freed = await api.admin.delete("/v1/definitions/distribution/thanks")
    gone = await api.admin.delete("/v1/definitions/event_type/left_review")

    assert [refused.status, freed.status, gone.status] == [409, 200, 200]
    pointers = [each["pointer"] for each in refused.json()["errors"]]
    assert pointers == ["/definitions/distribution/thanks/on/event"]
    revisions = await api.admin.get("/v1/definitions/event_type/left_review/revisions")
    assert [each["spec"] for each in revisions.json()["data"]] == [None, {}]


async def test_names_with_slashes_are_reached_bare_and_escaped(api: RunningApi) -> None:
    put = await api.admin.put("/v1/definitions/event_type/shop%2Frevisions", {})

    escaped = await api.admin.get("/v1/definitions/event_type/shop%2Frevisions")
    history = await api.admin.get("/v1/definitions/event_type/shop%2Frevisions/revisions")
    other = await api.admin.put("/v1/definitions/event_type/a/b", {})

    assert [put.status, escaped.status, history.status, other.status] == [200, 200, 200, 200]
    assert escaped.json()["name"] == "shop/revisions"
    assert other.json()["name"] == "a/b"


async def test_an_endpoint_that_was_read_can_be_written_again(api: RunningApi) -> None:
    path = "/v1/definitions/endpoint/shop"
    spec = {"url": "https://shop.example/hooks", "headers": {"X-Token": "hush"}}

    made = await api.admin.put(path, spec)
    read = await api.admin.get(path)
    again = await api.admin.put(path, read.json()["spec"])
    moved = await api.admin.put(path, {**read.json()["spec"], "url": "https://shop.example/"})
    stolen = await api.admin.put(path, {**read.json()["spec"], "url": "https://other.example/"})
    foreign = await api.admin.put(path, {**spec, "secret": "sha256:" + "0" * 64})

    assert made.json()["secret"].startswith("whsec_")
    assert b"hush" not in made.content + read.content
    assert (again.json()["revision"], moved.json()["revision"]) == (1, 2)
    assert "secret" not in moved.json()
    assert (foreign.status, stolen.status) == (400, 400)
    assert stolen.json()["errors"][0]["pointer"] == "/headers/X-Token"
    assert foreign.json()["errors"][0]["pointer"] == "/secret"


async def test_a_page_follows_the_page_before(api: RunningApi) -> None:
    documents: list[object] = [
        {"kind": "event_type", "name": f"e{at}", "spec": {}} for at in range(5)
    ]
    await api.admin.post("/v1/definitions", documents)

    names: list[str] = []
    path = "/v1/definitions/event_type?limit=2"
    cursor = ""
    while cursor is not None:
        answer = (await api.admin.get(path + (f"&cursor={cursor}" if cursor else ""))).json()
        names += [each["name"] for each in answer["data"]]
        cursor = answer["next_cursor"]

    assert names == ["e0", "e1", "e2", "e3", "e4"]


async def test_a_workspace_is_bounded_by_its_own_name(api: RunningApi) -> None:
    own = await api.admin.put("/v1/definitions/workspace/demo", {"timezone": "Europe/Warsaw"})
    other = await api.admin.put("/v1/definitions/workspace/elsewhere", {})

    assert (own.status, other.status) == (200, 400)


async def test_a_standing_rule_holds_a_property_open(api: RunningApi) -> None:
    await api.admin.put("/v1/definitions/event_type/left_review", LEFT_REVIEW)
    rule = {
        "id": "r",
        "on": {"event": "left_review"},
        "if": {"event": "metadata.review_type", "eq": "text"},
        "points": 5,
    }
    made = await api.admin.put(
        "/v1/definitions/loyalty_program/club", {"name": "Club", "earning_rules": [rule]}
    )
    sealing = {"properties": {"review_type": {"type": "string", "required": True, "pii": True}}}

    refused = await api.admin.put("/v1/definitions/event_type/left_review", sealing)

    assert made.status == 200, made.content
    assert refused.status == 409, refused.content
    (fault,) = refused.json()["errors"]
    assert fault["pointer"].startswith("/definitions/loyalty_program/club/")


async def test_what_a_crash_left_behind_is_relayed_in_order(
    api: RunningApi, kafka: str, topic_prefix: str
) -> None:
    async with api.api.session() as session:
        for revision in range(1, 6):
            await session.execute(
                "INSERT INTO upshot.definitions VALUES"
                " ('demo', %s, 'event_type', 'e', '{}', now(), 'key_1', false)",
                (revision,),
            )

    consumer = Consumer(kafka, "definitions", prefix=topic_prefix)
    await consumer.assign({0: 0})
    found: list[int] = []
    try:
        while len(found) < 5:
            records = await consumer.poll(0, records_max=10, timeout_ms=5_000)
            found += [decode_record(each.value).definitionsrevision for each in records]
    finally:
        await consumer.stop()

    assert found == [1, 2, 3, 4, 5]


async def test_changes_at_the_same_time_take_turns(api: RunningApi) -> None:
    async def put(number: int) -> int:
        answer = await api.admin.put(f"/v1/definitions/event_type/e{number}", {})
        assert answer.status == 200, answer.content
        return int(answer.json()["revision"])

    revisions = await asyncio.gather(*(put(number) for number in range(20)))

    assert sorted(revisions) == list(range(1, 21))


async def test_a_rotated_secret_is_another_revision(api: RunningApi) -> None:
    path = "/v1/definitions/endpoint/shop"
    made = (await api.admin.put(path, {"url": "https://shop.example/"})).json()

    rotated = await api.admin.post("/v1/endpoints/shop/rotate")
    stands = (await api.admin.get(path)).json()
    unknown = await api.admin.post("/v1/endpoints/nobody/rotate")

    assert (rotated.status, unknown.status) == (200, 404)
    assert rotated.json()["secret"] != made["secret"]
    assert stands["revision"] == rotated.json()["revision"] == 2
    assert stands["spec"]["secret"] != made["spec"]["secret"]


async def test_a_spec_too_large_for_the_log_is_refused_and_holds_nothing_up(
    api: RunningApi,
) -> None:
    choices = [f"{n:03d}{'x' * 1997}" for n in range(1000)]
    rule = {"id": "r", "on": {"event": "e"}, "points": 1}
    large = {"earning_rules": [{**rule, "if": {"event": "metadata.a", "in": choices}}]}
    event_type: dict[str, Any] = {"kind": "event_type", "name": "e", "spec": {}}
    program = {"kind": "loyalty_program", "name": "large", "spec": large}

    refused = await api.admin.post("/v1/definitions", [event_type, program])
    taken = await api.admin.post("/v1/definitions", [event_type])

    assert (refused.status, taken.status) == (400, 200)
    assert [each["pointer"] for each in refused.json()["errors"]] == ["/1/spec"]
    assert await api.api.relay.relayed(5)
    assert (await api.admin.get("/readyz")).status == 200


@pytest.mark.parametrize("number", [b"1e4300", b"1e5000", b"1e-5000", b"1" * 40])
async def test_a_number_that_no_store_gives_back_is_refused(api: RunningApi, number: bytes) -> None:
    path = "/v1/definitions/event_type/huge"
    spec = b'{"json_schema": {"properties": {"a": {"maximum": %s}}}}' % number
    yaml = b"[{kind: event_type, name: huge, spec: %s}]" % spec

    put = await api.admin.send("PUT", path, spec)
    applied = await api.admin.send("POST", "/v1/definitions", yaml, media="application/yaml")

    place = "/json_schema/properties/a/maximum"
    assert [each["pointer"] for each in put.json()["errors"]] == [place]
    assert (put.status, applied.status) == (400, 400)
    assert applied.json()["errors"][0]["pointer"].endswith(f"/0/spec{place}")


@pytest.mark.parametrize(
    "spec",
    [
        '{"json_schema": {"maximum": 1e4300}}',
        '{"properties": {"a": {"type": "number", "enum": [1e5000]}}}',
        '{"of_a_newer_version": true}',
    ],
)
async def test_what_stands_and_is_not_understood_holds_up_no_other(
    api: RunningApi, kafka: str, topic_prefix: str, spec: str
) -> None:
    path, other = "/v1/definitions/event_type/odd", "/v1/definitions/event_type/left_review"
    await api.admin.put(other, LEFT_REVIEW)
    async with api.api.session() as session:
        await session.execute(_STORE, (spec,))
    await api.api.relay.relayed(5)
    follower = DefinitionsFollower(kafka, prefix=topic_prefix)
    await follower.start()

    try:
        reads = [await api.admin.get(each) for each in (path, other, f"{path}/revisions")]
        listed = await api.admin.get("/v1/definitions/event_type")
        changed = await api.admin.put(other, {})
        mended = await api.admin.put(path, LEFT_REVIEW)
        deleted = await api.admin.delete(path)
        await follower.wait_for("demo", deleted.json()["revision"])
    finally:
        await follower.stop()

    assert [each.status for each in (*reads, listed, changed, mended, deleted)] == [200] * 7
    assert follower.not_understood == []
    assert follower.catalogue.latest("demo").event_types.keys() == {"left_review"}


async def test_a_definition_that_is_not_understood_is_named(
    api: RunningApi, kafka: str, topic_prefix: str
) -> None:
    async with api.api.session() as session:
        await session.execute(_STORE, ('{"of_a_newer_version": true}',))
    await api.api.relay.relayed(5)
    follower = DefinitionsFollower(kafka, prefix=topic_prefix)

    await follower.start()
    named = follower.not_understood
    deleted = await api.admin.delete("/v1/definitions/event_type/odd")
    await follower.wait_for("demo", deleted.json()["revision"])
    await follower.stop()

    (sentence,) = named
    assert sentence.startswith("event_type odd of demo")
    assert (deleted.status, follower.not_understood) == (200, [])


_STORE = """
INSERT INTO upshot.definitions (workspace, revision, kind, name, spec, created_at, created_by)
SELECT 'demo', coalesce(max(revision), 0) + 1, 'event_type', 'odd', %s::jsonb, now(), 'test'
FROM upshot.definitions WHERE workspace = 'demo'"""
