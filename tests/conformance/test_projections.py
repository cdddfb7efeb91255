"""What every projection keeps to, on the real kernel and a real database.

A generation is a function of the log: how records are batched, how partitions take turns and
whether a batch was tried twice leave no trace in the rows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from projections.customers.projection import Customers
from projections.kernel.errors import FencedError
from projections.kernel.projection import Projection
from projections.loyalty.projection import Loyalty
from services.runtime.sealing import MasterKey
from tests.conformance.building import Build, KnownDefinitions, new_build, relayed_by
from tests.conformance.counting import Counting
from tests.conformance.histories import Told, histories, log_of
from tests.conformance.logs import PARTITIONS, WORKSPACE, Log
from tests.conformance.reminding import Reminding

EXAMPLES = 6
REVISION = 2
"""Of the definitions that every history is stamped with."""
ZONE = "Pacific/Auckland"
"""A day ends there two hours after the first records of a history."""
PROGRAM = {
    "name": "Club",
    "earning_rules": [
        {
            "id": "visit",
            "on": {"event": "left_review"},
            "points": 50,
            "limits": [{"times": 1, "per": "day"}, {"points": 70, "per": "month"}],
        },
        {
            "id": "spending",
            "on": {"event": "order.completed"},
            "per": {"every": 10, "points": 1, "of": "metadata.amount"},
            "limits": [{"points": 3, "per": "week"}, {"times": 2, "per": "ever"}],
            "if": {"not": {"customer": "metadata.VIP", "eq": True}},
        },
    ],
}

INNER = {**PROGRAM, "name": "Inner circle", "join": "explicit", "negative_balance": "refuse"}

Subject = Projection[Any]
"""A projection, whatever its working set is."""

SUBJECTS: dict[str, Callable[[], Subject]] = {
    "counting": Counting,
    "customers": lambda: Customers(MasterKey(b"m" * 32)),
    "loyalty": Loyalty,
    "reminding": Reminding,
}

every_projection = pytest.mark.parametrize("name", SUBJECTS)
over_histories = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


def definitions() -> KnownDefinitions:
    known = KnownDefinitions()
    known.catalogue.apply(WORKSPACE, REVISION - 1, "workspace", WORKSPACE, {"timezone": ZONE})
    known.catalogue.apply(WORKSPACE, REVISION - 1, "loyalty_program", "inner", INNER)
    known.catalogue.apply(WORKSPACE, REVISION, "loyalty_program", "club", PROGRAM)
    return known


async def told_live(name: str, database: str, history: list[Told], seed: int) -> Log:
    """Make the log that a live generation leaves: the history and what came of it."""
    log = log_of(history, revision=REVISION)
    subject = SUBJECTS["customers" if name in ("counting", "reminding") else name]()
    async with new_build(subject, database, definitions(), live=True) as live:
        await live.live(log, random.Random(seed))
        assert await subject.verify(live.session) == []
    return log


async def rows_of(
    name: str, database: str, log: Log, run: Callable[[Build[Any]], Any]
) -> dict[str, list[str]]:
    """Build a silent generation and answer its rows."""
    subject = SUBJECTS[name]()
    async with new_build(subject, database, definitions()) as build:
        await run(build)
        assert await build.count("outbox") == 0
        assert await subject.verify(build.session) == []
        assert not build.pending(log)
        return await build.rows()


@every_projection
@over_histories
@given(history=histories, seed=st.integers(0, 2**32))
def test_batches_and_turns_leave_no_trace(
    name: str, database: str, history: list[Told], seed: int
) -> None:
    async def run() -> None:
        log = await told_live(name, database, history, seed)
        note(f"{sum(map(len, log.partitions.values()))} records, seed {seed}")

        at_once = await rows_of(name, database, log, lambda b: b.run(log))
        one_by_one = await rows_of(name, database, log, lambda b: b.run(log, batch=1))
        shuffled = await rows_of(
            name, database, log, lambda b: b.run(log, order=random.Random(seed + 1))
        )

        assert one_by_one == at_once
        assert shuffled == at_once

    asyncio.run(run())


@every_projection
@over_histories
@given(history=histories, seed=st.integers(0, 2**32))
def test_a_rebuild_gives_the_rows_that_live_has(
    name: str, database: str, history: list[Told], seed: int
) -> None:
    async def run() -> None:
        log = log_of(history, revision=REVISION)
        subject = SUBJECTS[name]()
        async with new_build(subject, database, definitions(), live=True) as live:
            await live.live(log, random.Random(seed))
            expected = await live.rows()
        note(f"{sum(map(len, log.partitions.values()))} records, seed {seed}")

        rebuilt = await rows_of(
            name, database, log, lambda b: b.run(log, order=random.Random(seed + 1))
        )

        assert rebuilt == expected

    asyncio.run(run())


def example(seed: int = 7, records: int = 40) -> Log:
    """A log of a given size, the same for a seed."""
    draw = random.Random(seed)
    history = [
        Told(
            customer=draw.randint(1, 5),
            event=draw.choice(["order.completed", "left_review"]),
            external_id=draw.choice([None, "A", "B"]),
            metadata={"amount": draw.randint(-50, 500)},
        )
        for _ in range(records)
    ]
    return log_of(history, revision=REVISION)


def copy_of(log: Log) -> Log:
    copied = Log()
    copied.now = log.now
    copied.partitions = {each: list(records) for each, records in log.partitions.items()}
    return copied


@every_projection
async def test_a_batch_tried_again_after_it_committed_changes_nothing(
    name: str, database: str
) -> None:
    log = example()
    async with new_build(SUBJECTS[name](), database, definitions()) as build:
        before = build.held[0]
        await build.apply(0, log.partitions[0])
        expected = await build.rows()

        build.appliers[0].forget()
        with pytest.raises(FencedError):
            await build.appliers[0].apply(before, log.partitions[0])

        assert await build.rows() == expected


@every_projection
async def test_an_owner_that_was_taken_over_from_writes_nothing(name: str, database: str) -> None:
    log = example()
    async with new_build(SUBJECTS[name](), database, definitions()) as build:
        zombie, held = build.appliers[0], build.held[0]
        expected = await build.rows()

        await build.claim(0)
        with pytest.raises(FencedError):
            await zombie.apply(held, log.partitions[0])

        assert await build.rows() == expected


@every_projection
@pytest.mark.parametrize("poison", [b"", b"{}", b"\xff\xfe", b'{"id": 1}', b"[" * 20_000])
async def test_what_cannot_be_read_is_a_dead_letter_and_all_else_is_applied(
    name: str, database: str, poison: bytes
) -> None:
    clean, poisoned = example(), Log()
    for records in clean.partitions.values():
        for number, record in enumerate(records):
            poisoned.now = record.appended_at
            if number == len(records) // 2:
                poisoned.append(b"whoever", poison, partition=record.partition)
            poisoned.append(record.key, record.value, partition=record.partition)

    async with (
        new_build(SUBJECTS[name](), database, definitions()) as expected,
        new_build(SUBJECTS[name](), database, definitions()) as build,
    ):
        await expected.run(clean)
        await build.run(poisoned)

        assert await build.count("dead_letters") == PARTITIONS
        assert await build.count("facts") == await expected.count("facts")
        assert not build.pending(poisoned)
        found, wanted = await build.rows(), await expected.rows()
        assert {table: len(rows) for table, rows in found.items() if table != "dead_letters"} == {
            table: len(rows) for table, rows in wanted.items() if table != "dead_letters"
        }


@every_projection
async def test_dead_letters_stand_the_same_however_records_are_batched(
    name: str, database: str
) -> None:
    log = example()
    for records in log.partitions.values():
        log.append(b"whoever", b"not JSON", partition=records[0].partition)
        log.append(b"whoever", b'"a string"', partition=records[0].partition)

    at_once = await rows_of(name, database, log, lambda b: b.run(log))
    one_by_one = await rows_of(name, database, log, lambda b: b.run(log, batch=1))

    assert len(at_once["dead_letters"]) == 2 * PARTITIONS
    assert one_by_one == at_once


@every_projection
async def test_a_silent_generation_puts_nothing_out(name: str, database: str) -> None:
    log = example()
    log.append(b"whoever", b"not JSON", partition=0)
    async with (
        new_build(SUBJECTS[name](), database, definitions(), live=True) as live,
        new_build(SUBJECTS[name](), database, definitions()) as silent,
    ):
        commits = [
            commit
            for p, records in log.partitions.items()
            for commit in await live.apply(p, records)
        ]
        await silent.run(log)

        assert [each.topic for each in relayed_by(commits)].count("dead-letters") == 1
        assert await live.count("outbox") > 0
        assert await silent.count("outbox") == 0
        assert await silent.rows() == await live.rows()


@every_projection
async def test_a_record_relayed_twice_counts_once(name: str, database: str) -> None:
    log = example()
    async with new_build(SUBJECTS["customers"](), database, definitions(), live=True) as live:
        await live.live(log, random.Random(1))
    relayed = [
        record
        for records in log.partitions.values()
        for record in records
        if b'"sequence"' in record.value
    ]
    assert relayed, "the example moves facts between customers"
    twice = copy_of(log)
    for record in relayed:
        twice.append(record.key, record.value, partition=record.partition)

    once_rows = await rows_of(name, database, log, lambda b: b.run(log))
    twice_rows = await rows_of(name, database, twice, lambda b: b.run(twice))

    assert twice_rows == once_rows
