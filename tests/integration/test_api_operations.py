"""Projections, dead letters, operations and topics over HTTP, and waiting for a position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg import sql

from contracts.codec import decode_json, decode_record
from contracts.places import Position
from projections import customers
from projections.kernel import generations
from services.api.seats import STREAMS_OF_WORKSPACE_MAX, WAITS_OF_WORKSPACE_MAX
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.producer import Outgoing
from services.runtime.postgres import connect
from tests.integration.api_process import PARTITIONS, RunningApi, running_api
from tests.support.eventually import eventually
from tests.unit.api.asgi import Answer, NoAnswerError


@pytest.fixture
async def api(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[RunningApi]:
    async with running_api(kafka, database, topic_prefix) as running:
        yield running


@pytest.fixture
async def live(api: RunningApi, database: str) -> str:
    """A live generation of customers with the kernel's tables alone; gives its schema."""
    session = await connect(database)
    try:
        made = await generations.ensure_live(
            session,
            "customers",
            version=1,
            partitions=PARTITIONS,
            migrations=generations.MIGRATIONS / "none",
        )
    finally:
        await session.close()
    assert api.api.settings.partitions == made.partitions
    return made.schema


def _moved(schema: str) -> sql.Composed:
    statement = sql.SQL("UPDATE {} SET next_offset = %s WHERE partition = %s")
    return statement.format(sql.Identifier(schema, "checkpoints"))


async def test_a_projection_tells_its_lag(api: RunningApi, live: str) -> None:
    await api.api.producer.append(
        "customer.events", 1, [Outgoing(b"k", b"{}")] * 3, deadline_seconds=5
    )
    async with api.api.session() as session:
        await session.execute(_moved(live), (1, 1))

    answer = await api.admin.get("/v1/projections")

    (found,) = answer.json()["data"]
    assert (found["name"], found["generation"], found["state"]) == ("customers", 1, "live")
    assert [each["next_offset"] for each in found["partitions"]] == [0, 1, 0]
    assert [each["end_offset"] for each in found["partitions"]] == [0, 3, 0]
    assert found["lag_records"] == 2
    assert 0 < found["staleness_seconds"] < 60


async def test_a_read_waits_for_the_position_it_names(api: RunningApi, live: str) -> None:
    waiting = asyncio.create_task(
        api.api.progress.wait("customers", [Position("customer.events", 2, 4)], 10)
    )
    early = await api.api.progress.wait("customers", [Position("customer.events", 2, 4)], 0.05)
    async with api.api.session() as session:
        await session.execute(_moved(live), (5, 2))

    assert early is False
    assert await waiting is True


FAR = {"upshot_wait_for": "customer.events/0/999999", "prefer": "wait=30"}


async def test_requests_that_wait_leave_room_and_are_bounded(api: RunningApi, live: str) -> None:
    left, count = asyncio.Event(), WAITS_OF_WORKSPACE_MAX + 20
    headers = {name.replace("_", "-"): value for name, value in FAR.items()}
    asked = [
        asyncio.create_task(api.admin.send("GET", "/v1/events", headers=headers, left=left))
        for _ in range(count)
    ]

    async def refused() -> bool:
        return sum(each.done() for each in asked) == count - WAITS_OF_WORKSPACE_MAX

    await eventually(refused)
    beside = await api.admin.get("/v1/keys")
    another = await _key_of_another_workspace(api)
    passed = await api.admin.with_key(another).get(
        "/v1/events", upshot_wait_for="customer.events/0/999999", prefer="wait=0"
    )
    left.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert live
    assert (beside.status, passed.status) == (200, 503)
    turned_away = [each for each in answers if isinstance(each, Answer)]
    assert {each.status for each in turned_away} == {429}
    assert {each.headers["retry-after"] for each in turned_away} == {"1"}
    assert sum(isinstance(each, NoAnswerError) for each in answers) == WAITS_OF_WORKSPACE_MAX
    assert api.api.waits.taken == 0


async def test_streams_asked_for_at_once_are_bounded(api: RunningApi) -> None:
    left, count = asyncio.Event(), STREAMS_OF_WORKSPACE_MAX + 30
    await _make_customers_readable(api)
    asked = [
        asyncio.create_task(api.admin.send("GET", "/v1/activity/stream", left=left))
        for _ in range(count)
    ]

    async def refused() -> bool:
        return sum(each.done() for each in asked) == count - STREAMS_OF_WORKSPACE_MAX

    await eventually(refused)
    left.set()
    answers = await asyncio.gather(*asked)

    assert sorted({each.status for each in answers}) == [200, 429]
    assert api.api.streams.taken == 0


async def _key_of_another_workspace(api: RunningApi) -> str:
    made = await api.admin.post("/v1/workspaces", {"name": "other"})
    assert made.status == 200, made.content
    return made.json()["key"]


async def _make_customers_readable(api: RunningApi) -> None:
    """A live generation with the tables of customers, empty."""
    session = await connect(api.api.settings.postgres)
    try:
        await generations.ensure_live(
            session,
            "customers",
            version=1,
            partitions=PARTITIONS,
            migrations=Path(customers.__file__).parent / "migrations",
        )
    finally:
        await session.close()


async def test_a_request_stands_in_the_log_and_is_followed(
    api: RunningApi, kafka: str, topic_prefix: str
) -> None:
    document = {"verb": "rebuild", "projection": "loyalty"}

    asked = await api.admin.post("/v1/operations", document)
    read = await api.admin.get(f"/v1/operations/{asked.json()['id']}")
    listed = await api.admin.get("/v1/operations?projection=loyalty&limit=1")
    others = await api.admin.get("/v1/operations?projection=customers")

    assert (asked.status, asked.json()["state"]) == (202, "requested")
    assert read.json() == asked.json() == listed.json()["data"][0]
    assert others.json()["data"] == []
    consumer = Consumer(kafka, "operations", prefix=topic_prefix)
    await consumer.assign({0: 0})
    try:
        (found,) = await consumer.poll(0, records_max=10, timeout_ms=5_000)
    finally:
        await consumer.stop()
    record = decode_record(found.value)
    assert (record.type, record.subject) == ("operation.requested", "loyalty")
    assert asked.json()["id"].encode() in bytes(record.data)


async def test_a_projection_has_one_rebuild_at_a_time(api: RunningApi) -> None:
    rebuild = {"verb": "rebuild", "projection": "loyalty"}
    ended = "UPDATE upshot.operations SET state = 'failed' WHERE id = %s"

    both = await asyncio.gather(*(api.admin.post("/v1/operations", rebuild) for _ in range(2)))
    other = await api.admin.post("/v1/operations", {**rebuild, "projection": "customers"})
    verify = await api.admin.post("/v1/operations", {**rebuild, "verb": "verify"})
    taken, refused = sorted(both, key=lambda answer: answer.status)
    async with api.api.session() as session:
        await session.execute(ended, (taken.json()["id"],))
    again = await api.admin.post("/v1/operations", rebuild)

    assert (taken.status, other.status, verify.status, again.status) == (202, 202, 202, 202)
    assert (refused.status, refused.json()["key"]) == (409, "rebuild_under_way")
    assert taken.json()["id"] in refused.json()["detail"]


async def test_what_is_of_the_whole_installation_is_its_own_workspaces_alone(
    api: RunningApi,
) -> None:
    asked = await api.admin.post("/v1/operations", {"verb": "verify", "projection": "loyalty"})
    other = api.admin.with_key(await _key_of_another_workspace(api))
    one = f"/v1/operations/{asked.json()['id']}"

    reads = [
        await other.get(each) for each in ("/v1/operations", one, "/v1/projections", "/v1/topics")
    ]
    writes = [
        await other.post("/v1/operations", {"verb": "rebuild", "projection": "loyalty"}),
        await other.post("/v1/workspaces", {"name": "third"}),
    ]
    listed = await api.admin.get("/v1/operations")

    assert {(each.status, each.json()["key"]) for each in reads + writes} == {(403, "forbidden")}
    assert [each["verb"] for each in listed.json()["data"]] == ["verify"]
    assert (await other.get("/v1/dead-letters")).json()["data"] == []


async def test_operations_are_paged_newest_first(api: RunningApi) -> None:
    document = {"verb": "verify", "projection": "loyalty"}
    made = [(await api.admin.post("/v1/operations", document)).json()["id"] for _ in range(3)]

    first = (await api.admin.get("/v1/operations?limit=2")).json()
    second = (await api.admin.get(f"/v1/operations?limit=2&cursor={first['next_cursor']}")).json()

    assert [each["id"] for each in first["data"] + second["data"]] == made[::-1]
    assert second["next_cursor"] is None


async def test_dead_letters_are_of_ones_own_workspace(api: RunningApi, live: str) -> None:
    event = (
        b'{"id":"r1","source":"gateway","type":"customer.custom_event","subject":"cust_1",'
        b'"time":"2026-01-01T00:00:00Z","workspace":"%s","recordedtime":"2026-01-01T00:00:00Z",'
        b'"definitionsrevision":1,"data":{},"specversion":"1.0"}'
    )
    letters = [event % b"demo", event % b"other", b"\xff not json"]
    async with api.api.session() as session:
        for offset, record in enumerate(letters):
            await session.execute(
                sql.SQL("INSERT INTO {} VALUES (0, %s, '', %s, 'data', 'broken', %b, %b)").format(
                    sql.Identifier(live, "dead_letters")
                ),
                (offset, datetime.now(tz=UTC), b"cust_1", record),
            )

    listed = (await api.admin.get("/v1/dead-letters?projection=customers")).json()
    first = (await api.admin.get("/v1/dead-letters?limit=1")).json()
    second = (await api.admin.get(f"/v1/dead-letters?cursor={first['next_cursor']}")).json()
    one = await api.admin.get("/v1/dead-letters/customers.0.0")
    foreign = await api.admin.get("/v1/dead-letters/customers.0.1")
    nonsense = await api.admin.get("/v1/dead-letters/customers.0.x")

    assert [each["id"] for each in listed["data"]] == ["customers.0.0", "customers.0.2"]
    assert first["data"] + second["data"] == listed["data"]
    assert one.json()["record"]["id"] == "r1"
    assert (foreign.status, nonsense.status) == (404, 404)


async def test_dead_letters_tell_how_they_ended(api: RunningApi, live: str) -> None:
    timer = "timer_" + "0a" * 16
    rows = [(0, "", "open", None), (0, timer, "discarded", 7), (1, "", "redriven", 9)]
    async with api.api.session() as session:
        for offset, name, state, ended in rows:
            await session.execute(
                sql.SQL(
                    "INSERT INTO {} VALUES (0, %s, %s, now(), 'data', '', %b, %b, %s, %s)"
                ).format(sql.Identifier(live, "dead_letters")),
                (offset, name, b"cust_1", b"not json", state, ended),
            )

    listed = (await api.admin.get("/v1/dead-letters")).json()["data"]
    still_open = (await api.admin.get("/v1/dead-letters?state=open")).json()["data"]
    one = (await api.admin.get("/v1/dead-letters?limit=1")).json()
    rest = (await api.admin.get(f"/v1/dead-letters?cursor={one['next_cursor']}")).json()
    shown = (await api.admin.get(f"/v1/dead-letters/customers.0.0.{timer}")).json()
    odd = await api.admin.get("/v1/dead-letters?state=lost")

    assert [(each["id"], each["state"], each["ended_position"]) for each in listed] == [
        ("customers.0.0", "open", None),
        (f"customers.0.0.{timer}", "discarded", "customer.events/0/7"),
        ("customers.0.1", "redriven", "customer.events/0/9"),
    ]
    assert [each["id"] for each in still_open] == ["customers.0.0"]
    assert one["data"] + rest["data"] == listed
    assert (shown["state"], shown["record"]) == ("discarded", "not json")
    assert odd.status == 400


async def test_dead_letters_are_redriven_by_their_ids(
    api: RunningApi, kafka: str, topic_prefix: str
) -> None:
    document = {"verb": "redrive", "projection": "loyalty", "letters": ["loyalty.0.1"]}

    asked = await api.admin.post("/v1/operations", document)
    wrong: list[dict[str, object]] = [
        {"letters": []},
        {"letters": ["customers.0.1"]},
        {"letters": ["1"]},
        {"verb": "verify"},
    ]
    refused = [await api.admin.post("/v1/operations", {**document, **each}) for each in wrong]

    assert (asked.status, [each.status for each in refused]) == (202, [400] * 4)
    consumer = Consumer(kafka, "operations", prefix=topic_prefix)
    await consumer.assign({0: 0})
    (record,) = await consumer.poll(0, records_max=10)
    await consumer.stop()
    assert decode_json(decode_record(record.value).data) == {
        "operation": asked.json()["id"],
        "projection": "loyalty",
        "verb": "redrive",
        "requested_by": asked.json()["requested_by"],
        "letters": ["loyalty.0.1"],
    }


async def test_topics_are_listed_with_their_ends(api: RunningApi) -> None:
    answer = await api.admin.get("/v1/topics")

    topics = {each["name"]: each for each in answer.json()["data"]}
    assert topics["customer.events"]["partitions"] == PARTITIONS
    assert topics["definitions"]["end_offsets"] == [0]
    assert topics["customer.events"]["settings"]["retention.ms"] == "-1"
