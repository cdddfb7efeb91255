"""Dead letters redriven and discarded: once, at the place of the record that does it, for ever.

A rebuild passes over what the live generation passed over and meets the redrives where that met
them; what the live one applied, a rebuild may not fail to apply.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from contracts import codec
from contracts.cloudevent import spell_sequence
from contracts.redrives import LetterId
from projections.kernel.errors import AheadOfLiveError, UnlikeLiveError
from projections.kernel.projection import Effect, Step
from projections.kernel.redrive import CannotRedriveError, again, discarded
from services.runtime.kafka.consumer import Incoming
from tests.conformance.building import Build, new_build, relayed_by
from tests.conformance.counting import Counting
from tests.conformance.histories import Told, histories
from tests.conformance.logs import PARTITIONS, Log, customer_number
from tests.conformance.reminding import Reminding
from tests.conformance.test_projections import (
    REVISION,
    SUBJECTS,
    Subject,
    copy_of,
    definitions,
    every_projection,
    over_histories,
)
from tests.conformance.test_timers import crowd, pass_time

DIES = 4
"""One record of so many cannot be applied, each time it is tried."""


def brittle(subject: Subject) -> Subject:
    """Let a projection fail at some records; redriven, the same record may be applied."""
    apply = subject.apply

    def apply_or_not(working: object, step: Step) -> Iterable[Effect]:
        name = f"{step.record.id} {step.record.redriveof}".encode()
        if crc32(name) % DIES == 0:
            raise ValueError("brittle")
        return apply(working, step)

    vars(subject)["apply"] = apply_or_not
    return subject


def broken(subject: Subject, *offsets: int) -> Subject:
    """Let a projection fail at the records at these offsets."""
    apply = subject.apply

    def apply_or_not(working: object, step: Step) -> Iterable[Effect]:
        if step.offset in offsets:
            raise ValueError("broken")
        return apply(working, step)

    vars(subject)["apply"] = apply_or_not
    return subject


@asynccontextmanager
async def new_live(subject: Subject, database: str) -> AsyncGenerator[Build[Any]]:
    """Make a generation that those beside it find to be the live one."""
    change = "UPDATE upshot.generations SET state = %s WHERE projection = %s AND generation = %s"
    async with new_build(subject, database, definitions(), live=True) as build:
        which = subject.name, build.generation.number
        await build.session.execute(change, ("live", *which))
        try:
            yield build
        finally:
            await build.session.execute(change, ("building", *which))


async def letters(build: Build[Any], state: str) -> list[tuple[LetterId, bytes, bytes]]:
    """The dead letters of a state: id, key and record."""
    query = (
        b"SELECT partition, record_offset, timer, key, record FROM dead_letters"
        b" WHERE state = %s ORDER BY 1, 2, 3"
    )
    rows = await (await build.session.execute(query, (state,))).fetchall()
    return [(LetterId(build.projection.name, *row[:3]), row[3], row[4]) for row in rows]


def end(log: Log, letter: LetterId, key: bytes, record: bytes, *, redrive: bool) -> Incoming:
    """Append what an operator's request leads to; what cannot be redriven is discarded."""
    try:
        value = again(letter, record) if redrive else discarded(letter, key)
    except CannotRedriveError:
        value = discarded(letter, key)
    return log.append(key, value, partition=letter.partition)


async def operate(build: Build[Any], log: Log, draw: random.Random) -> None:
    """End some letters, some of them twice, as a killed operator's successor would."""
    for each in await letters(build, "open"):
        for _ in range(draw.choice([0, 1, 1, 2])):
            end(log, *each, redrive=draw.random() < 0.8)


async def take_turn(build: Build[Any], log: Log, draw: random.Random, *, live: bool) -> None:
    """Apply a random batch of a random partition."""
    waiting = build.pending(log)
    if not waiting:
        return
    partition = draw.choice(sorted(waiting))
    records = waiting[partition]
    try:
        commits = await build.apply(partition, records[: draw.randint(1, len(records))])
    except AheadOfLiveError:
        assert not live, "nobody is ahead of the live one but others"
        await build.claim(partition)
        return
    for relayed in relayed_by(commits):
        if relayed.topic == "customer.events":
            log.append(relayed.key, relayed.value, partition=relayed.target)


async def tell_all(
    log: Log,
    history: list[Told],
    draw: random.Random,
    live: Build[Any],
    silent: Build[Any] | None = None,
) -> None:
    """Let a history happen, with poison in it, while generations read it and operators look on."""
    number = 0
    while number < len(history) or live.pending(log) or await letters(live, "open"):
        for told in history[number : number + draw.randint(0, 3)]:
            number += 1
            log.tell(
                customer_number(told.customer),
                told.data(number),
                revision=REVISION,
                after_ms=told.after_ms,
                idempotency_key=told.idempotency_key,
            )
            if draw.random() < 1 / len(history):
                log.append(b"whoever", b"no record", partition=draw.randrange(PARTITIONS))
        await take_turn(live, log, draw, live=True)
        if silent is not None:
            await take_turn(silent, log, draw, live=False)
        if draw.random() < 1 / 4:
            await operate(live, log, draw)
    while silent is not None and silent.pending(log):
        await take_turn(silent, log, draw, live=False)


@every_projection
@over_histories
@given(history=histories, seed=st.integers(0, 2**32))
async def test_rebuilds_equal_live_whatever_died_and_was_ended(
    name: str, database: str, history: list[Told], seed: int
) -> None:
    draw, log = random.Random(seed), Log()
    async with new_live(brittle(SUBJECTS[name]()), database) as live:
        await tell_all(log, history, draw, live)
        expected = await live.rows()
        assert await live.projection.verify(live.session) == []

        for subject, batch, order in (
            (brittle(SUBJECTS[name]()), 0, None),
            (brittle(SUBJECTS[name]()), 1, None),
            (SUBJECTS[name](), 0, draw),  # a mended model passes over what live did, too
        ):
            async with new_build(subject, database, definitions()) as build:
                await build.run(log, batch=batch, order=order)
                assert await build.rows() == expected
                assert await build.count("outbox") == 0


@every_projection
@over_histories
@given(history=histories, seed=st.integers(0, 2**32))
async def test_a_silent_generation_ends_equal_when_letters_are_ended_beside_it(
    name: str, database: str, history: list[Told], seed: int
) -> None:
    draw, log = random.Random(seed), Log()
    async with (
        new_live(brittle(SUBJECTS[name]()), database) as live,
        new_build(brittle(SUBJECTS[name]()), database, definitions()) as silent,
    ):
        await tell_all(log, history, draw, live, silent)

        assert await silent.rows() == await live.rows()


def purchases(count: int, *, customer: int = 1) -> Log:
    """Purchases of one customer, so that they stand in one partition."""
    log = Log()
    for number in range(1, count + 1):
        told = Told(customer=customer, event="order.completed", external_id=str(number))
        log.tell(customer_number(customer), told.data(number), revision=REVISION)
    return log


def only_partition(log: Log) -> int:
    return next(partition for partition, records in log.partitions.items() if records)


async def states(build: Build[Any]) -> list[tuple[object, ...]]:
    query = b"SELECT record_offset, state, ended_offset FROM dead_letters ORDER BY 1, timer"
    return await (await build.session.execute(query)).fetchall()


@every_projection
async def test_a_letter_that_is_redriven_twice_is_applied_once(name: str, database: str) -> None:
    log = purchases(5)
    async with new_live(broken(SUBJECTS[name](), 2), database) as live:
        await live.run(log)
        (letter,) = await letters(live, "open")
        first = end(log, *letter, redrive=True)
        end(log, *letter, redrive=True)
        end(log, *letter, redrive=False)
        await live.run(log)
        log.append(letter[1], again(letter[0], letter[2]), partition=letter[0].partition)
        await live.run(log)

        assert await states(live) == [(2, "redriven", first.offset)]
        assert await live.count("facts") == 5
        assert not live.pending(log)


async def test_all_but_the_one_that_it_is_for_pass_over_a_redrive_but_not_its_time(
    database: str,
) -> None:
    log = purchases(5)
    async with (
        new_live(broken(Counting(), 2), database) as live,
        new_build(Reminding(), database, definitions()) as other,
    ):
        await live.run(log)
        await other.run(log)
        before = await other.rows()
        (letter,) = await letters(live, "open")
        log.now += timedelta(microseconds=1)  # no reminder falls due by it
        appended = end(log, *letter, redrive=True)
        await live.run(log)
        await other.run(log)

        held = other.held[appended.partition]
        assert (held.next_offset, held.logical_time) == (
            appended.offset + 1,
            max(appended.appended_at, log.partitions[appended.partition][-2].appended_at),
        )
        assert await other.rows() == before
        assert await states(live) == [(2, "redriven", appended.offset)]


async def test_a_redriven_record_that_fails_again_is_a_letter_of_its_own(database: str) -> None:
    log = purchases(3)
    async with new_live(broken(Counting(), 1, 3), database) as live:
        await live.run(log)
        end(log, *(await letters(live, "open"))[0], redrive=True)
        await live.run(log)
        assert await states(live) == [(1, "redriven", 3), (3, "open", None)]

        (second,) = await letters(live, "open")
        end(log, *second, redrive=True)
        await live.run(log)

        assert second[0].offset == 3
        assert live.held[second[0].partition].progress.dead == (1, 3)  # only what died counts
        assert await states(live) == [(1, "redriven", 3), (3, "redriven", 4)]
        assert await live.count("facts") == 3


async def test_a_timer_can_be_discarded_and_a_rebuild_passes_over_it(database: str) -> None:
    log, customers = crowd(), frozenset({customer_number(1)})
    async with new_live(Reminding(broken=customers), database) as live:
        await live.run(log)
        found = await letters(live, "open")
        for each in found:
            with pytest.raises(CannotRedriveError, match="timer"):
                again(each[0], each[2])
            end(log, *each, redrive=False)
        pass_time(log, timedelta(seconds=1))
        await live.run(log)

        async with new_build(Reminding(), database, definitions()) as rebuilt:
            await rebuilt.run(log)

            assert found
            assert {state for _, state, _ in await states(live)} == {"discarded"}
            assert await rebuilt.rows() == await live.rows()


async def test_what_is_no_cloudevent_can_only_be_discarded(database: str) -> None:
    log = purchases(1)
    poison = log.append(b"whoever", b"no record", partition=only_partition(log))
    async with new_live(Counting(), database) as live:
        await live.run(log)
        ((letter, key, record),) = await letters(live, "open")
        with pytest.raises(CannotRedriveError, match="no CloudEvent"):
            again(letter, record)
        ended = end(log, letter, key, record, redrive=False)
        await live.run(log)

        assert await states(live) == [(poison.offset, "discarded", ended.offset)]
        assert not live.pending(log)


async def test_what_a_relay_appended_is_redriven_without_its_sequence(database: str) -> None:
    log = purchases(2)
    partition = only_partition(log)
    first = codec.decode_record(log.partitions[partition][0].value)
    relayed = msgspec.structs.replace(first, id="r", source="s", sequence=spell_sequence(1))
    died = log.append(b"k", codec.encode(relayed), partition=partition)
    async with new_live(broken(Counting(), died.offset), database) as live:
        await live.run(log)
        (letter,) = await letters(live, "open")
        ended = end(log, *letter, redrive=True)
        await live.run(log)

        assert codec.decode_record(ended.value).sequence is UNSET
        assert await states(live) == [(died.offset, "redriven", ended.offset)]


async def test_a_rebuild_stops_at_what_the_live_generation_applied(database: str) -> None:
    log = purchases(5)
    async with (
        new_live(Counting(), database) as live,
        new_build(broken(Counting(), 3), database, definitions()) as rebuilt,
    ):
        await live.run(log)

        where = f"customer.events/{only_partition(log)}/3"
        with pytest.raises(UnlikeLiveError, match=f"cannot apply {where}, which .* applied"):
            await rebuilt.run(log)

        await rebuilt.claim(only_partition(log))
        assert rebuilt.held[only_partition(log)].next_offset == 3
        assert await rebuilt.count("dead_letters") == 0


async def test_a_rebuild_ahead_of_the_live_generation_waits_where_it_cannot_go_on(
    database: str,
) -> None:
    log = purchases(5)
    partition = only_partition(log)
    async with (
        new_live(broken(Counting(), 3), database) as live,
        new_build(broken(Counting(), 3), database, definitions()) as rebuilt,
    ):
        await live.apply(partition, log.partitions[partition][:3])
        with pytest.raises(AheadOfLiveError, match="waits"):
            await rebuilt.run(log)

        await live.run(log)
        await rebuilt.claim(partition)
        await rebuilt.run(log)

        assert await rebuilt.rows() == await live.rows()
        assert await states(rebuilt) == [(3, "open", None)]


async def test_what_a_mended_model_applied_in_a_rebuild_is_not_applied_again(
    database: str,
) -> None:
    log = purchases(5)
    async with (
        new_live(broken(Counting(), 2), database) as live,
        new_build(Counting(), database, definitions()) as rebuilt,
        new_build(Counting(), database, definitions()) as clean,
    ):
        await live.run(log)
        await rebuilt.run(log)
        await clean.run(copy_of(log))
        counted = (await clean.rows())["counts"]
        end(log, *(await letters(live, "open"))[0], redrive=True)
        await live.run(log)
        await rebuilt.run(log)

        assert (await live.rows())["counts"] == counted
        assert (await rebuilt.rows())["counts"] == counted
        assert await rebuilt.count("dead_letters") == 0
