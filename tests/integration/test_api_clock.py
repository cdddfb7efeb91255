"""Test clocks over HTTP, on real Kafka and Postgres."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from contracts.clocks import CLOCK_ADVANCED, ClockAdvanced
from contracts.cloudevent import CloudEvent
from contracts.codec import decode_record
from contracts.places import Position, parse_position
from contracts.topics import CUSTOMER_EVENTS, DEFINITIONS
from services.api.app import App
from services.api.definitions.relay import DefinitionsRelay
from services.api.table import ROUTES
from services.runtime.kafka.consumer import Consumer, read_one
from services.runtime.kafka.errors import OutcomeUnknownError
from services.runtime.kafka.producer import Ack, Outgoing, Producer
from tests.integration.api_process import PARTITIONS, RunningApi, running_api
from tests.unit.api.asgi import Answer, Client

SETTINGS = "/v1/definitions/workspace/demo"
CLOCK = "/v1/clock"


class Log:
    """The log under a topic prefix."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._kafka = kafka
        self._prefix = prefix

    async def at(self, position: Position) -> CloudEvent:
        """The record at a position."""
        topic, partition, offset = position.topic, position.partition, position.offset
        found = await read_one(self._kafka, topic, partition, offset, prefix=self._prefix)
        assert found is not None, "the position stands in the log"
        return decode_record(found.value)

    async def ends(self, topic: str, partitions: int) -> list[int]:
        """How many records each partition has."""
        consumer = Consumer(self._kafka, topic, prefix=self._prefix)
        await consumer.assign(dict.fromkeys(range(partitions), 0))
        try:
            ends = await consumer.end_offsets(list(range(partitions)))
        finally:
            await consumer.stop()
        return [ends[each] for each in range(partitions)]

    async def last_shown(self, partition: int) -> ClockAdvanced:
        """What the last record of a partition of events says that a clock shows."""
        (end,) = (await self.ends(CUSTOMER_EVENTS, PARTITIONS))[partition : partition + 1]
        return _shown(await self.at(Position(CUSTOMER_EVENTS, partition, end - 1)))


@pytest.fixture
def log(kafka: str, topic_prefix: str) -> Log:
    return Log(kafka, topic_prefix)


@pytest.fixture
async def api(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[RunningApi]:
    async with running_api(kafka, database, topic_prefix) as running:
        yield running


def _shown(record: CloudEvent) -> ClockAdvanced:
    assert record.type == CLOCK_ADVANCED
    return msgspec.json.decode(record.data, type=ClockAdvanced)


def _now(answer: Answer) -> datetime:
    assert answer.status == 200, answer.content
    return datetime.fromisoformat(answer.json()["now"])


async def _on_test_clock(api: RunningApi) -> datetime:
    put = await api.admin.put(SETTINGS, {"clock": "test"})
    assert put.status == 200, put.content
    return datetime.fromisoformat(put.json()["spec"]["clock_at"])


async def test_the_system_clock_shows_the_time_and_is_not_moved(api: RunningApi) -> None:
    before = datetime.now(tz=UTC)

    got = await api.admin.get(CLOCK)
    moved = await api.admin.post(CLOCK, {"advance": "P1D"})

    assert got.json()["clock"] == "system"
    assert before <= _now(got) <= datetime.now(tz=UTC)
    assert moved.status == 409


async def test_a_move_stands_in_every_partition_and_is_a_revision(
    api: RunningApi, log: Log
) -> None:
    began = await _on_test_clock(api)

    moved = await api.admin.post(CLOCK, {"advance": "P3D"})

    to = began + timedelta(days=3)
    assert _now(moved) == to
    assert (moved.json()["clock"], moved.json()["revision"]) == ("test", 2)
    assert moved.headers["upshot-definitions-revision"] == "2"
    positions = [parse_position(each) for each in moved.headers["upshot-position"].split(", ")]
    assert [each.partition for each in positions] == list(range(PARTITIONS))
    for position in positions:
        record = await log.at(position)
        assert (record.workspace, record.subject) == ("demo", "clock")
        assert (record.source, record.definitionsrevision) == ("api", 0)
        assert _shown(record).to == to
    assert _now(await api.admin.get(CLOCK)) == to
    relayed = await log.at(Position(DEFINITIONS, 0, 1))
    assert (relayed.definitionsrevision, relayed.subject) == (2, "workspace/demo")
    stands = (await api.admin.get(SETTINGS)).json()
    assert (stands["revision"], datetime.fromisoformat(stands["spec"]["clock_at"])) == (2, to)


async def test_partitions_are_told_when_a_workspace_goes_on_a_test_clock(
    api: RunningApi, log: Log
) -> None:
    began = await _on_test_clock(api)

    assert [(await log.last_shown(each)).to for each in range(PARTITIONS)] == [began] * PARTITIONS


async def test_a_clock_goes_forward_only_and_says_where_to(api: RunningApi) -> None:
    began = await _on_test_clock(api)
    to = began + timedelta(hours=1)

    refused = [
        await api.admin.post(CLOCK, {"to": began.isoformat()}),
        await api.admin.post(CLOCK, {"to": (began - timedelta(seconds=1)).isoformat()}),
        await api.admin.post(CLOCK, {"advance": "P11Y"}),
        await api.admin.post(CLOCK, {}),
        await api.admin.post(CLOCK, {"to": to.isoformat(), "advance": "PT1H"}),
    ]
    moved = await api.admin.post(CLOCK, {"to": to.isoformat()})
    again = await api.admin.post(CLOCK, {"to": to.isoformat()})

    assert [each.status for each in refused] == [422, 422, 422, 400, 400]
    assert (_now(moved), moved.json()["revision"]) == (to, 2)
    assert again.status == 422


async def test_moving_and_reading_a_clock_take_their_scopes(api: RunningApi) -> None:
    await _on_test_clock(api)

    async def with_scope(scope: str) -> Client:
        made = await api.admin.post("/v1/keys", {"name": "k", "scopes": [scope]})
        return api.admin.with_key(made.json()["secret"])

    reader = await with_scope("definitions:read")
    assert (await reader.get(CLOCK)).status == 200
    assert (await reader.post(CLOCK, {"advance": "P1D"})).status == 403


async def test_an_apply_leaves_a_test_clock_where_it_is(api: RunningApi) -> None:
    await _on_test_clock(api)
    to = _now(await api.admin.post(CLOCK, {"advance": "P1M"}))

    same = await api.admin.put(SETTINGS, {"clock": "test"})
    whole = await api.admin.put(SETTINGS, (await api.admin.get(SETTINGS)).json()["spec"])
    other = await api.admin.put(SETTINGS, {"clock": "test", "timezone": "Europe/Warsaw"})
    moved = await api.admin.put(SETTINGS, {"clock": "test", "clock_at": "2040-01-01T00:00:00Z"})

    assert [each.json()["revision"] for each in (same, whole, other)] == [2, 2, 3]
    assert moved.status == 400
    assert moved.json()["errors"][0]["pointer"] == "/clock_at"
    assert _now(await api.admin.get(CLOCK)) == to


async def test_a_workspace_stays_on_its_test_clock(api: RunningApi) -> None:
    await _on_test_clock(api)
    documents: list[object] = [{"kind": "workspace", "name": "demo", "spec": {}}]

    refused = [
        await api.admin.put(SETTINGS, {}),
        await api.admin.put(SETTINGS, {"clock": "system"}),
        await api.admin.delete(SETTINGS),
        await api.admin.post("/v1/definitions?dry_run=true", documents),
    ]

    assert [each.status for each in refused] == [409] * 4
    assert "test clock" in refused[0].json()["detail"]


async def test_a_workspace_with_customers_keeps_the_system_clock(api: RunningApi) -> None:
    async with api.api.session() as session:
        await session.execute(
            "INSERT INTO upshot.identities (workspace, kind, value, customer)"
            " VALUES ('demo', 'source_id', 'alex', gen_random_uuid())"
        )

    refused = await api.admin.put(SETTINGS, {"clock": "test"})
    other = await api.admin.put(SETTINGS, {"timezone": "Europe/Warsaw"})

    assert (refused.status, other.status) == (409, 200)
    assert "customers" in refused.json()["detail"]


async def test_a_workspace_is_made_on_a_test_clock(api: RunningApi, log: Log) -> None:
    made = await api.admin.post("/v1/workspaces", {"name": "trial", "clock": "test"})
    assert made.status == 200, made.content
    trial = api.admin.with_key(made.json()["key"])
    began = _now(await trial.get(CLOCK))

    moved = await trial.post(CLOCK, {"advance": "P1Y"})

    assert _now(moved) == began.replace(year=began.year + 1)
    assert (await log.last_shown(0)).to == _now(moved)
    assert (await api.admin.get(CLOCK)).json()["clock"] == "system"


async def test_the_relay_tells_the_partitions_what_a_killed_api_did_not(
    api: RunningApi, log: Log
) -> None:
    """The move is committed, and the process that would have told of it is gone."""
    await _on_test_clock(api)
    await api.api.relay.stop()
    records_before = await log.ends(CUSTOMER_EVENTS, PARTITIONS)
    await _commit(api, to="2031-01-01T00:00:00Z")
    assert await log.ends(CUSTOMER_EVENTS, PARTITIONS) == records_before

    relay = DefinitionsRelay(api.api.pool, api.api.producer, partitions=PARTITIONS)
    assert await relay.relay_once() == 1

    to = datetime(2031, 1, 1, tzinfo=UTC)
    assert [(await log.last_shown(each)).to for each in range(PARTITIONS)] == [to] * PARTITIONS
    assert await log.ends(DEFINITIONS, 1) == [2]


async def test_gateways_learn_of_a_move_only_when_every_partition_has_it(
    api: RunningApi, log: Log, kafka: str, topic_prefix: str
) -> None:
    await _on_test_clock(api)
    await api.api.relay.stop()
    await _commit(api, to="2031-01-01T00:00:00Z")

    producer = _LosesOne(kafka, prefix=topic_prefix)
    try:
        with pytest.raises(OutcomeUnknownError):
            await DefinitionsRelay(api.api.pool, producer, partitions=PARTITIONS).relay_once()
    finally:
        await producer.stop()

    assert await log.ends(DEFINITIONS, 1) == [1]


async def test_a_move_that_the_log_did_not_acknowledge_in_time_is_made_all_the_same(
    api: RunningApi, log: Log, kafka: str, topic_prefix: str
) -> None:
    began = await _on_test_clock(api)
    producer = _LosesOne(kafka, prefix=topic_prefix)
    deaf = App(ROUTES, msgspec.structs.replace(api.api, producer=producer))
    key = api.api.settings.admin_key.get_secret_value()

    try:
        answer = await Client(deaf, key).post(CLOCK, {"advance": "P1D"})
    finally:
        await producer.stop()

    assert answer.status == 503
    assert answer.json()["key"] == "outcome_unknown"
    assert _now(await api.admin.get(CLOCK)) == began + timedelta(days=1)
    assert await api.api.relay.relayed(5)
    shown = [(await log.last_shown(each)).to for each in range(PARTITIONS)]
    assert shown == [began + timedelta(days=1)] * PARTITIONS


class _LosesOne(Producer):
    """A producer that the last partition of events does not acknowledge."""

    async def append_all(
        self, topic: str, records: Mapping[int, Iterable[Outgoing]], *, deadline_seconds: float
    ) -> dict[int, list[tuple[Ack, int]] | Exception]:
        outcomes = await super().append_all(topic, records, deadline_seconds=deadline_seconds)
        if topic == CUSTOMER_EVENTS:
            outcomes[PARTITIONS - 1] = OutcomeUnknownError(topic)
        return outcomes


async def _commit(api: RunningApi, *, to: str) -> None:
    """Commit a move of the clock, and nothing else."""
    async with api.api.session() as session, session.transaction():
        await session.execute(
            "INSERT INTO upshot.definitions"
            " (workspace, revision, kind, name, spec, created_at, created_by)"
            " VALUES ('demo', 2, 'workspace', 'demo', %s, now(), 'key_1')",
            (f'{{"clock": "test", "clock_at": "{to}"}}',),
        )
