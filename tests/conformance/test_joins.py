"""Joins on the real kernel: who is in a segment is known just before each record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import codec
from contracts.topics import SEGMENT_MEMBERSHIPS
from projections.kernel import joins as kernel_joins
from projections.kernel.joins import Joins
from projections.kernel.outbox import OutboxRow, Relay
from services.runtime.kafka.consumer import POLL_MS, Incoming
from services.runtime.kafka.producer import Ack, Outgoing
from services.runtime.postgres import Session, connect
from tests.conformance.building import Build, KnownDefinitions, new_build
from tests.conformance.joining import ASKED_BY, STAYS, Grant, Granting, Segmenting
from tests.conformance.logs import PARTITIONS, START, WORKSPACE, Log, customer_number
from tests.conformance.test_timers import pass_time, purchase

CUSTOMERS = 4
ASKS = 2
"""Revision from which a rule asks for the segment."""
STOPS = 3
"""Revision from which none does."""


class Topics:
    """The topic of memberships in memory: its reader and its appender."""

    def __init__(self) -> None:
        self.memberships: dict[int, list[Incoming]] = {each: [] for each in range(PARTITIONS)}
        self._positions: dict[int, int] = {}

    def reader(self, topic: str) -> Topics:
        assert topic == SEGMENT_MEMBERSHIPS, "nothing else is joined or put out"
        reader = Topics()
        reader.memberships = self.memberships
        return reader

    async def append(
        self, topic: str, partition: int, records: Iterable[Outgoing], *, deadline_seconds: float
    ) -> list[tuple[Ack, int]]:
        assert topic == SEGMENT_MEMBERSHIPS and deadline_seconds > 0, "only these are put out"
        log = self.memberships[partition]
        base = len(log)
        for each in records:
            log.append(Incoming(partition, len(log), 0, each.key, each.value))
        return [(Ack(base_offset=base, appended_at=START), len(log) - base)]

    async def assign(self, partitions: dict[int, int]) -> None:
        self._positions = dict(partitions)

    def resume_at(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    def seek(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    async def poll(
        self, partition: int, *, records_max: int, timeout_ms: int = POLL_MS
    ) -> list[Incoming]:
        assert timeout_ms > 0, "a poll may wait"
        start = self._positions[partition]
        found = self.memberships[partition][start : start + min(records_max, 3)]
        self._positions[partition] += len(found)
        return found

    async def end_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        return {each: len(self.memberships[each]) for each in partitions}

    async def begin_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)

    async def stop(self) -> None:
        return


class Upstream:
    """Segments as live generation, applying and relaying at its own pace."""

    def __init__(self, build: Build[dict[tuple[str, str], int]], topics: Topics) -> None:
        self._build = build
        self._topics = topics
        self._rows: dict[int, list[OutboxRow]] = {each: [] for each in range(PARTITIONS)}

    async def run(self, log: Log, draw: random.Random, relaying: Session) -> None:
        relays = {
            each: Relay(
                relaying,
                self._topics,
                self._topics.reader,
                projection="segments",
                partition=each,
            )
            for each in range(PARTITIONS)
        }
        while self._build.pending(log) or any(self._rows.values()):
            await asyncio.sleep(0)
            partition = draw.randrange(PARTITIONS)
            waiting = self._build.pending(log).get(partition, [])
            if waiting and draw.random() < 0.5:
                commits = await self._build.apply(partition, waiting[: draw.randint(1, 4)])
                self._rows[partition] += [each.outbox for each in commits if each.outbox]
            elif self._rows[partition]:
                await relays[partition].send(self._rows[partition].pop(0))


def told(facts: list[tuple[int, int]], asks_after: int, stops_after: int) -> Log:
    """A log of facts; a rule asks for the segment from one of them on, till another."""
    log = Log()
    for number, (customer, after_ms) in enumerate(facts):
        revision = ASKS if asks_after <= number else 1
        revision = STOPS if asks_after <= stops_after <= number else revision
        log.tell(customer_number(customer), purchase(number), revision=revision, after_ms=after_ms)
    pass_time(log, timedelta(seconds=1))
    return log


def definitions() -> KnownDefinitions:
    known = KnownDefinitions()
    known.catalogue.apply(WORKSPACE, 1, "event_type", "order.completed", {})
    known.catalogue.apply(WORKSPACE, ASKS, "event_type", ASKED_BY, {})
    known.catalogue.apply(WORKSPACE, STOPS, "event_type", ASKED_BY, None)
    return known


class Oracle:
    """A plain fold of one partition: segments and who asks for them, in one."""

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}
        self._facts: dict[str, int] = {}
        self._leaving: list[tuple[datetime, int, str]] = []
        self._late: list[tuple[str, bool, datetime]] = []
        self._now = START
        self._revision = 0
        self._asks = False

    def fold(self, record: Incoming) -> None:
        """Let time pass, tell what it brings, then the record, then what that brings."""
        self._now = max(self._now, record.appended_at)
        self._revision = max(self._revision, codec.decode_record(record.value).definitionsrevision)
        asks = self._asks = self._revision == ASKS
        if asks:
            for named, entered, at in self._late:
                self._grant(named, at, is_member=entered).late += 1
            self._late.clear()
        for customer, at in self._leave():
            self._tell(customer, at, entered=False)
        customer = record.key.decode()
        if not customer.startswith("cust_"):
            return
        is_member = self._facts.get(customer, 0) > 0
        grant = self.grants.setdefault(customer, Grant())
        grant.last_at = self._now
        grant.granted += grant.is_member
        self._facts[customer] = self._facts.get(customer, 0) + 1
        self._leaving.append((self._now + STAYS, record.offset, customer))
        if not is_member:
            self._tell(customer, self._now, entered=True)
            grant.entered += asks

    def _leave(self) -> Iterator[tuple[str, datetime]]:
        for each in sorted(self._leaving):
            due, _, customer = each
            if due <= self._now:
                self._leaving.remove(each)
                self._facts[customer] -= 1
                if not self._facts[customer]:
                    yield customer, due

    def _tell(self, customer: str, at: datetime, *, entered: bool) -> None:
        if self._asks:
            self._grant(customer, at, is_member=entered)
        else:
            self._late.append((customer, entered, at))

    def _grant(self, customer: str, at: datetime, *, is_member: bool) -> Grant:
        grant = self.grants.setdefault(customer, Grant())
        grant.is_member, grant.last_at = is_member, at
        return grant


def expected(log: Log) -> dict[str, Grant]:
    """What a plain fold of each partition gives."""
    grants: dict[str, Grant] = {}
    for records in log.partitions.values():
        oracle = Oracle()
        for record in records:
            oracle.fold(record)
        grants |= oracle.grants
    return grants


async def _until_done(build: Build[dict[tuple[str, str], Grant]], log: Log, size: int) -> None:
    while waiting := build.pending(log):
        for partition, records in waiting.items():
            await build.apply(partition, records[:size])


async def _grants(build: Build[dict[tuple[str, str], Grant]]) -> dict[str, Grant]:
    found = await build.session.execute(
        "SELECT uuid_send(customer), is_member, granted, entered, late, last_at FROM grants"
    )
    return {
        f"cust_{row[0].hex()}": Grant(
            is_member=row[1], granted=row[2], entered=row[3], late=row[4], last_at=row[5]
        )
        for row in await found.fetchall()
    }


def _join(build: Build[dict[tuple[str, str], Grant]], topics: Topics) -> None:
    for partition, applier in build.appliers.items():
        applier.planner.joins = Joins(topics.reader, partition)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(
    facts=st.lists(
        st.tuples(st.integers(1, CUSTOMERS), st.integers(0, 3)), min_size=5, max_size=40
    ),
    asks_after=st.integers(0, 40),
    stops_after=st.integers(0, 80),
    joined_max=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
async def test_a_rule_sees_who_is_in_a_segment_just_before_its_record_however_far_either_is(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    facts: list[tuple[int, int]],
    asks_after: int,
    stops_after: int,
    joined_max: int,
    seed: int,
) -> None:
    log, topics, draw = told(facts, asks_after, stops_after), Topics(), random.Random(seed)
    monkeypatch.setattr(kernel_joins, "JOINED_MAX", joined_max)
    async with (
        living_segments(database) as segments,
        new_build(Granting(), database, definitions()) as beside,
        new_build(Granting(), database, definitions()) as later,
        await connect(database, schema=segments.generation.schema) as relaying,
    ):
        _join(beside, topics)
        _join(later, topics)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Upstream(segments, topics).run(log, draw, relaying))
            tasks.create_task(_until_done(beside, log, draw.randint(1, 12)))
        await later.run(log, order=draw)

        assert await _grants(beside) == expected(log)
        assert await later.rows() == await beside.rows()


@pytest.mark.parametrize("joined_max", [1, 2, 3])
async def test_many_memberships_of_one_place_are_joined_however_few_are_read_at_once(
    database: str, monkeypatch: pytest.MonkeyPatch, joined_max: int
) -> None:
    log, topics = told([(1, 1), (2, 1), (3, 1), (1, 9), (2, 9)], 0, 80), Topics()
    monkeypatch.setattr(kernel_joins, "JOINED_MAX", joined_max)
    async with (
        living_segments(database) as segments,
        new_build(Granting(), database, definitions()) as later,
        await connect(database, schema=segments.generation.schema) as relaying,
        asyncio.timeout(30),
    ):
        _join(later, topics)
        await Upstream(segments, topics).run(log, random.Random(1), relaying)

        await later.run(log)

        assert await _grants(later) == expected(log)


async def test_nobody_waits_while_no_rule_asks(database: str) -> None:
    log, topics = told([(1, 1), (2, 1), (1, 9)], asks_after=99, stops_after=99), Topics()
    async with new_build(Granting(), database, definitions()) as build:
        _join(build, topics)
        await build.run(log)

        assert not build.pending(log)
        assert await build.count("grants") == 2


async def test_a_record_waits_until_what_segments_put_out_before_it_is_relayed(
    database: str,
) -> None:
    log, topics = told([(1, 1), (1, 1)], asks_after=0, stops_after=99), Topics()
    async with (
        living_segments(database) as segments,
        new_build(Granting(), database, definitions()) as build,
        await connect(database, schema=segments.generation.schema) as relaying,
    ):
        _join(build, topics)
        await segments.run(log)  # all is applied, nothing is relayed

        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await _until_done(build, log, 10)
        partition = log.tell(customer_number(1), purchase(9)).partition
        assert build.held[partition].next_offset == 0

        for applier in build.appliers.values():
            applier.forget()
        for each in range(PARTITIONS):
            relay = Relay(relaying, topics, topics.reader, projection="segments", partition=each)
            await relay.recover()
        log.partitions[partition].pop()
        await _until_done(build, log, 10)
        assert await _grants(build) == expected(log)


@asynccontextmanager
async def living_segments(database: str) -> AsyncGenerator[Build[dict[tuple[str, str], int]]]:
    """Make a generation of segments the live one, as long as the block runs."""
    async with new_build(Segmenting(), database, definitions(), live=True) as build:
        await build.session.execute("UPDATE checkpoints SET live = true")
        await _set_state(build, "live")
        try:
            yield build
        finally:
            await _set_state(build, "building")


async def _set_state(build: Build[dict[tuple[str, str], int]], state: str) -> None:
    await build.session.execute(
        "UPDATE upshot.generations SET state = %s WHERE projection = %s AND generation = %s",
        (state, build.projection.name, build.generation.number),
    )
