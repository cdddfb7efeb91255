"""Timers on the real kernel: in order, at their place, in bounded transactions, on any clock."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import codec
from contracts.clocks import CLOCK_ADVANCED, ClockAdvanced
from contracts.cloudevent import CloudEvent
from contracts.events import CustomEvent
from contracts.identifiers import event_id, fact_key
from contracts.partitioner import partition_of
from projections.kernel import checkpoint as checkpoints
from projections.kernel.projection import Effect, Firing, Output
from projections.kernel.timers import Timer
from services.runtime.postgres import Session
from tests.conformance.building import Build, KnownDefinitions, new_build
from tests.conformance.histories import Told, histories
from tests.conformance.logs import PARTITIONS, START, WORKSPACE, Log, customer_number
from tests.conformance.reminding import STEP, Reminder, Reminding

CROWD = 20


def purchase(order: int) -> CustomEvent:
    key = fact_key(WORKSPACE, "order.completed", external_id=str(order), producer_id=None)
    assert key is not None, "an external id names a fact"
    return CustomEvent(
        event="order.completed",
        event_id=event_id(key),
        identified="external",
        external_id=str(order),
    )


def advance(log: Log, after: timedelta, workspace: str = WORKSPACE) -> None:
    """Set the workspace's test clock on every partition."""
    record = CloudEvent(
        id=f"clock-{after}",
        source="api",
        type=CLOCK_ADVANCED,
        subject="clock",
        time=log.now,
        workspace=workspace,
        recordedtime=log.now,
        definitionsrevision=0,
        data=codec.raw(ClockAdvanced(to=START + after)),
    )
    for partition in range(PARTITIONS):
        log.append(b"clock", codec.encode(record), partition=partition)


def pass_time(log: Log, after: timedelta) -> None:
    """Append a record of no customer to every partition, so much later."""
    log.now += after
    record = CloudEvent(
        id=f"tick-{log.now}",
        source="reminding/clock",
        type="clock.ticked",
        subject="clock",
        time=log.now,
        workspace="",
        recordedtime=log.now,
        definitionsrevision=0,
        data=codec.raw({"due": log.now}),
    )
    for partition in range(PARTITIONS):
        log.append(b"clock", codec.encode(record), partition=partition)


def crowd() -> Log:
    """Purchases of one instant, so that all their reminders are due at one."""
    log = Log()
    for number in range(CROWD):
        log.tell(customer_number(number % 4), purchase(number), after_ms=0)
    pass_time(log, timedelta(seconds=1))
    return log


async def reminders(build: Build[list[Reminder]], columns: str) -> list[tuple[object, ...]]:
    query = f"SELECT {columns} FROM reminders ORDER BY partition, at, customer, fact"
    return await (await build.session.execute(query.encode())).fetchall()


@pytest.mark.parametrize("timers_max", [2, 3, 7, CROWD])
async def test_what_is_due_at_one_instant_fires_in_bounded_transactions_to_the_same_rows(
    database: str, timers_max: int
) -> None:
    log = crowd()
    async with (
        new_build(Reminding(), database, live=True) as expected,
        new_build(Reminding(), database, live=True) as build,
    ):
        await expected.run(log)
        for partition, records in log.partitions.items():
            build.appliers[partition].timers_max = timers_max
            commits = await build.apply(partition, records)
            assert [each.checkpoint.next_offset for each in commits][-1] == len(records)
            assert not commits[-1].checkpoint.is_partway

        assert await build.count("reminders") == 2 * CROWD
        assert await build.rows() == await expected.rows()


async def test_a_timer_fires_at_its_instant_and_at_the_place_where_time_reached_it(
    database: str,
) -> None:
    log = Log()
    first = log.tell(customer_number(1), purchase(1))
    pass_time(log, STEP / 2)
    pass_time(log, STEP)
    async with new_build(Reminding(), database) as build:
        await build.run(log)

        fired = await reminders(build, "round, at, record_offset")

    assert fired == [(1, first.appended_at + STEP, first.offset + 2)]


async def test_a_timer_that_is_set_late_fires_at_once_and_bears_the_time_of_its_setting(
    database: str,
) -> None:
    log = Log()
    log.tell(customer_number(1), purchase(1))
    log.now += timedelta(days=1)
    told = Told(customer=1, event="left_review", external_id="A", occurred_at=START)
    late = log.tell(customer_number(1), told.data(2))
    async with new_build(Reminding(), database) as build:
        await build.run(log)

        fired = await reminders(build, "round, at, record_offset")

    assert (1, late.appended_at, late.offset) in fired


async def test_a_fact_taken_back_is_not_reminded_of(database: str) -> None:
    log = Log()
    told = Told(customer=1, event="order.completed", external_id="A")
    log.tell(customer_number(1), told.data(1))
    gone = Told(customer=1, event="order.completed", external_id="A", deleted_at=START)
    log.tell(customer_number(1), gone.data(2))
    pass_time(log, timedelta(seconds=1))
    async with new_build(Reminding(), database) as build:
        await build.run(log)

        assert await build.count("reminders") == 0
        assert await build.count("timers") == 0


async def test_a_timer_that_cannot_fire_is_a_dead_letter_and_all_others_fire(
    database: str,
) -> None:
    log, broken = crowd(), frozenset({customer_number(1)})
    async with (
        new_build(Reminding(broken=broken), database) as build,
        new_build(Reminding(broken=broken), database) as one_by_one,
    ):
        await build.run(log)
        await one_by_one.run(log, batch=1)

        assert await build.count("dead_letters") == CROWD // 4
        assert await build.count("reminders") == 2 * (CROWD - CROWD // 4)
        assert await build.count("facts") == CROWD
        assert not build.pending(log)
        assert await one_by_one.rows() == await build.rows()


async def test_a_test_clock_fires_when_it_is_set_and_no_sooner(database: str) -> None:
    log = Log()
    advance(log, timedelta(0))
    log.tell(customer_number(1), purchase(1))
    pass_time(log, timedelta(days=30))
    async with new_build(Reminding(), database) as build:
        await build.run(log)
        assert await build.count("reminders") == 0

        advance(log, timedelta(days=1))
        await build.run(log)

        assert await reminders(build, "round, at") == [
            (1, START + STEP),
            (2, START + 2 * STEP),
        ]


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(
    history=histories,
    clocks=st.lists(st.integers(0, 40), max_size=4),
    timers_max=st.integers(2, 6),
    seed=st.integers(0, 2**32),
)
async def test_batches_and_bounds_leave_no_trace_on_any_clock(
    database: str, history: list[Told], clocks: list[int], timers_max: int, seed: int
) -> None:
    log, draw = Log(), random.Random(seed)
    moments = sorted(draw.sample(range(len(history)), min(len(clocks), len(history))))
    for number, told in enumerate(history, start=1):
        if moments and moments[0] == number - 1:
            moments.pop(0)
            advance(log, timedelta(milliseconds=clocks.pop()))
        log.tell(customer_number(told.customer), told.data(number), after_ms=told.after_ms)
    pass_time(log, timedelta(seconds=1))
    advance(log, timedelta(hours=9))
    known = KnownDefinitions()
    async with (
        new_build(Reminding(), database, known, live=True) as expected,
        new_build(Reminding(), database, known) as build,
    ):
        await expected.run(log)
        for applier in build.appliers.values():
            applier.timers_max = timers_max
        await build.run(log, order=draw)

        assert await build.rows() == await expected.rows()
        assert await build.projection.verify(build.session) == []


class Daily(Reminding):
    """Reminds every day for ever, and counts how often in one transaction."""

    most = 0

    def fire(self, working: list[Reminder], firing: Firing) -> Iterable[Effect]:
        for effect in super().fire(working, firing):
            if isinstance(effect, Timer):
                yield msgspec.structs.replace(
                    firing.timer, due=firing.at + timedelta(days=1), id=firing.timer.id
                )

    async def write(
        self, session: Session, working: list[Reminder], *, live: bool
    ) -> Sequence[Output]:
        self.most = max(self.most, len(working))
        return await super().write(session, working, live=live)


async def test_timers_that_set_themselves_fire_in_bounded_transactions_too(database: str) -> None:
    log = Log()
    partition = partition_of(customer_number(1).encode(), PARTITIONS)
    for number in range(3):
        log.tell(customer_number(1), purchase(number), after_ms=0)
    log.tell(customer_number(1), purchase(9), after_ms=100 * 24 * 3600 * 1000)
    daily = Daily()
    async with new_build(daily, database) as build, new_build(Daily(), database) as expected:
        await expected.apply(partition, log.partitions[partition])
        build.appliers[partition].timers_max = 7
        await build.apply(partition, log.partitions[partition])

        assert daily.most <= 7
        assert await build.rows() == await expected.rows()


async def test_a_record_appended_at_the_very_instant_comes_after_all_that_is_due(
    database: str,
) -> None:
    log = Log()
    partition = partition_of(customer_number(1).encode(), PARTITIONS)
    for number in range(CROWD):
        log.tell(customer_number(1), purchase(number), after_ms=0)
    told = Told(customer=1, event="order.completed", external_id="15", deleted_at=START)
    log.tell(customer_number(1), told.data(15), after_ms=2)
    log.tell(customer_number(1), purchase(51), after_ms=5)
    records = log.partitions[partition]
    async with (
        new_build(Reminding(), database) as expected,
        new_build(Reminding(), database) as build,
    ):
        await expected.apply(partition, records)
        build.appliers[partition].timers_max = 7
        await build.apply(partition, records[:CROWD])
        await build.apply(partition, records[CROWD:])

        assert await build.rows() == await expected.rows()


async def test_what_was_committed_before_a_hold_is_told_though_the_rest_is_held(
    database: str,
) -> None:
    log = Log()
    partition = partition_of(customer_number(1).encode(), PARTITIONS)
    for number in range(CROWD):
        log.tell(customer_number(1), purchase(number), after_ms=0)
    held_at = log.tell(customer_number(1), purchase(50), after_ms=1000).offset + 1
    log.tell(customer_number(1), purchase(51), after_ms=1)
    records = log.partitions[partition]
    async with new_build(Reminding(), database, live=True) as build:
        await build.apply(partition, records[:CROWD])
        build.appliers[partition].timers_max = 7
        await build.session.execute("UPDATE checkpoints SET hold_at = %s", (held_at,))

        await build.apply(partition, records[CROWD:])

        present = await checkpoints.read(build.session, partition)
        held = build.held[partition]
        assert present == msgspec.structs.replace(held, hold_at=held_at)
        assert held.progress.sequence > 0
