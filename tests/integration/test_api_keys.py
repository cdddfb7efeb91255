"""Keys, scopes and workspaces over HTTP, on real Postgres."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.integration.api_process import RunningApi, running_api
from tests.unit.api.asgi import basic


@pytest.fixture
async def api(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[RunningApi]:
    async with running_api(kafka, database, topic_prefix) as running:
        yield running


async def test_a_key_is_taken_in_every_form(api: RunningApi) -> None:
    made = await api.admin.post("/v1/keys", {"name": "ci", "scopes": ["definitions:read"]})
    secret = made.json()["secret"]
    nobody = api.admin.with_key(None)
    path = "/v1/definitions/event_type"

    bearer = await nobody.with_key(secret).get(path)
    as_user = await nobody.get(path, authorization=basic(secret))
    as_app = await nobody.get(path, x_app_token=secret, x_app_id="any")
    without = await nobody.get(path)
    unknown = await nobody.with_key("upshot_unknown").get(path)

    assert [each.status for each in (bearer, as_user, as_app)] == [200, 200, 200]
    assert (without.status, unknown.status) == (401, 401)
    assert without.headers["www-authenticate"].startswith("Bearer")


async def test_a_missing_scope_is_named(api: RunningApi) -> None:
    made = await api.admin.post("/v1/keys", {"name": "ci", "scopes": ["definitions:write"]})
    writer = api.admin.with_key(made.json()["secret"])

    reading = await writer.get("/v1/definitions/event_type")
    event_type = await writer.put("/v1/definitions/event_type/a", {})
    endpoint = await writer.put("/v1/definitions/endpoint/a", {"url": "https://a.example/"})
    keys = await writer.get("/v1/keys")

    assert [reading.status, event_type.status, endpoint.status] == [403, 403, 200]
    assert "definitions:read" in reading.json()["detail"]
    assert "event_types:write" in event_type.json()["detail"]
    assert "admin" in keys.json()["detail"]


async def test_a_revoked_key_lets_nobody_in(api: RunningApi) -> None:
    made = (await api.admin.post("/v1/keys", {"name": "ci", "scopes": ["admin"]})).json()
    holder = api.admin.with_key(made["secret"])

    before = await holder.get("/v1/keys")
    revoked = await api.admin.delete(f"/v1/keys/{made['id']}")
    after = await holder.get("/v1/keys")
    again = await api.admin.delete(f"/v1/keys/{made['id']}")

    assert [each.status for each in (before, revoked, after, again)] == [200, 200, 401, 404]
    assert made["secret"] not in before.content.decode()


async def test_another_workspace_is_not_seen(api: RunningApi) -> None:
    await api.admin.put("/v1/definitions/event_type/ours", {})
    made = await api.admin.post("/v1/workspaces", {"name": "other"})
    other = api.admin.with_key(made.json()["key"])

    foreign = await other.get("/v1/definitions/event_type/ours")
    settings = await other.get("/v1/definitions/workspace/other")
    keys = (await other.get("/v1/keys")).json()["data"]
    admins = (await api.admin.get("/v1/keys")).json()["data"]
    theirs = await other.delete(f"/v1/keys/{admins[0]['id']}")
    twice = await api.admin.post("/v1/workspaces", {"name": "other"})

    assert made.status == 200, made.content
    assert [foreign.status, settings.status, theirs.status, twice.status] == [404, 200, 404, 409]
    assert [each["id"] for each in keys] == [made.json()["key_id"]]


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({}, ["/name", "/scopes"]),
        ({"name": "", "scopes": ["admin"]}, ["/name"]),
        ({"name": "a", "scopes": ["root"]}, ["/scopes/0"]),
        ({"name": "a", "scopes": []}, ["/scopes"]),
        ({"name": "a", "scopes": ["admin"], "expires_at": "yesterday"}, ["/expires_at"]),
        ({"name": "a", "scopes": ["admin"], "expires_at": "2999-01-01"}, ["/expires_at"]),
        ({"name": "a", "scopes": ["admin"], "expires_at": "2001-01-01T00:00:00Z"}, ["/expires_at"]),
        ({"name": "a", "scopes": ["admin"], "colour": 1}, ["/colour"]),
        ([], [""]),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(
    api: RunningApi, document: object, pointers: list[str]
) -> None:
    answer = await api.admin.post("/v1/keys", document)

    assert answer.status == 400
    assert [each["pointer"] for each in answer.json()["errors"]] == pointers


async def test_deliveries_of_an_endpoint_that_is_not_there_are_not_redriven(
    api: RunningApi,
) -> None:
    answer = await api.admin.post("/v1/deliveries/redrive", {"endpoint": "nowhere"})
    by_day = await api.admin.post("/v1/deliveries/redrive", {"from": "2026-01-01"})

    assert (answer.status, answer.json()["key"]) == (404, "not_found")
    assert (by_day.status, by_day.json()["errors"][0]["pointer"]) == (400, "/from")


async def test_bad_requests_are_problem_documents(api: RunningApi) -> None:
    answers = [
        (404, await api.admin.get("/nowhere")),
        (405, await api.admin.send("PATCH", "/v1/keys")),
        (400, await api.admin.send("POST", "/v1/keys", b'{"name": ')),
        (400, await api.admin.send("POST", "/v1/keys", b"[" * 50_000)),
        (400, await api.admin.send("POST", "/v1/keys")),
        (413, await api.admin.send("POST", "/v1/keys", b" " * 70_000)),
        (415, await api.admin.send("POST", "/v1/keys", b"a", media="text/plain")),
        (400, await api.admin.get("/v1/keys?limit=many")),
        (400, await api.admin.get("/v1/keys?limit=0")),
        (400, await api.admin.get("/v1/keys?colour=red")),
        (400, await api.admin.get("/v1/keys?cursor=%00")),
        (400, await api.admin.get("/v1/keys?cursor=bm9uZQ")),
        (400, await api.admin.get("/v1/definitions/event_type/a%00b")),
        (400, await api.admin.get("/v1/definitions/event_type/%ff")),
        (404, await api.admin.get("/v1/definitions/no_such_kind/a")),
        (400, await api.admin.get("/v1/keys", upshot_wait_for="customer.events")),
        (400, await api.admin.get("/v1/keys", upshot_wait_for="customer.events/3/0")),
        (400, await api.admin.get("/v1/keys", upshot_wait_for="nowhere/0/0")),
    ]

    for status, answer in answers:
        document = answer.json()
        assert (answer.status, document["status"]) == (status, status), document
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == document["request_id"]
    assert answers[1][1].headers["allow"] == "GET, HEAD, POST"
