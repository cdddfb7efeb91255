"""What the dispatcher keeps to as a projection: rows and messages are functions of the log.

Messages are no read model, so they are compared as a set: how records are batched and how
partitions take turns may not change which are sent, what they say, and in which order a customer's
stand.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.topics import WEBHOOKS
from projections.kernel.outbox import Relayed
from services.dispatcher.deliveries import NewMessage, migrate_deliveries
from services.dispatcher.projection import Dispatcher
from services.dispatcher.working import WorkingSet
from services.runtime.postgres import connect, migrate_control
from services.runtime.sealing import MasterKey
from tests.conformance.building import Build, KnownDefinitions, new_build
from tests.conformance.histories import Told, histories, log_of
from tests.conformance.logs import PARTITIONS, WORKSPACE, Log

EXAMPLES = 10
REVISION = 4
MASTER = MasterKey(b"m" * 32)

Sent = list[tuple[str, bytes, str, int]]
"""Message id, body, endpoint and place of its delivery (or nothing and 0): by customer, in their
order on the topic."""

_relayed = msgspec.msgpack.Decoder(list[Relayed])

over_histories = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


@pytest.fixture(name="ready")
async def _ready(database: str) -> str:
    await migrate_control(database)
    await migrate_deliveries(database)
    return database


def definitions() -> KnownDefinitions:
    known = KnownDefinitions()
    for revision, (kind, name, spec) in enumerate(
        (
            ("endpoint", "crm", {"url": "https://crm.example/"}),
            ("distribution", "orders", {"on": {"event": "order.completed"}, "endpoint": "crm"}),
            (
                "distribution",
                "vips",
                {
                    "on": {"event": "left_review"},
                    "if": {"customer": "metadata.VIP", "eq": True},
                    "endpoint": "crm",
                },
            ),
            ("distribution", "topic", {"on": {"event": "left_review"}, "max_event_age": "PT2H"}),
        ),
        start=1,
    ):
        known.catalogue.apply(WORKSPACE, revision, kind, name, spec)
    return known


def subject() -> Dispatcher:
    def written(_messages: Sequence[NewMessage]) -> None:
        """Nobody waits for them here."""

    return Dispatcher(MASTER, first_wait_seconds=0, written=written)


async def on_the_topic(build: Build[WorkingSet]) -> list[Relayed]:
    """Read what stands in the outbox for the topic, in order of each partition."""
    cursor = await build.session.execute(
        "SELECT records FROM outbox ORDER BY partition, sequence_first"
    )
    relayed = [each for (row,) in await cursor.fetchall() for each in _relayed.decode(row)]
    return [each for each in relayed if each.topic == WEBHOOKS]


async def sent(conninfo: str, relayed: Sequence[Relayed]) -> Sent:
    """Read what stands in the queue, and empty it; the topic gets the same, no more and no less."""
    session = await connect(conninfo, schema="deliveries")
    try:
        cursor = await session.execute(
            "SELECT m.id::text, m.body, coalesce(d.endpoint, ''), coalesce(d.place, 0)"
            " FROM messages m LEFT JOIN deliveries d ON d.message = m.id"
        )
        found: Sent = [(row[0], row[1], row[2], row[3]) for row in await cursor.fetchall()]
        await session.execute("TRUNCATE messages, deliveries")
    finally:
        await session.close()
    assert Counter(each.value for each in relayed) == Counter(each[1] for each in found)
    by_body = {each[1]: each for each in found}
    return [by_body[each.value] for each in sorted(relayed, key=lambda each: each.key)]


async def built(
    conninfo: str, log: Log, *, live: bool, seed: int | None = None, batch: int = 0
) -> tuple[dict[str, list[str]], Sent]:
    """Build a generation; answer its rows and what it sent."""
    dispatcher = subject()
    async with new_build(dispatcher, conninfo, definitions(), live=live) as build:
        await _run(build, log, seed, batch)
        assert await dispatcher.verify(build.session) == []
        rows = await build.rows()
        relayed = await on_the_topic(build)
    return rows, await sent(conninfo, relayed)


async def _run(build: Build[WorkingSet], log: Log, seed: int | None, batch: int) -> None:
    order = None if seed is None else random.Random(seed)
    await build.run(log, order=order, batch=batch)


@over_histories
@given(history=histories, seed=st.integers(0, 2**32))
def test_batches_leave_no_trace_in_rows_or_messages(
    ready: str, history: list[Told], seed: int
) -> None:
    async def run() -> None:
        log = log_of(_each_at_one_customer(history), revision=REVISION)

        at_once = await built(ready, log, live=True)

        assert await built(ready, log, live=True, batch=1) == at_once
        assert await built(ready, log, live=True, seed=seed) == at_once

    asyncio.run(run())


def _each_at_one_customer(history: list[Told]) -> list[Told]:
    """Leave out what a producer tells of two customers: which of them sends depends on turns."""
    seen: dict[tuple[str, str], int] = {}
    kept: list[Told] = []
    for told in history:
        if told.event is not None and (name := told.external_id or told.producer_id):
            kind = told.event if told.external_id else ""
            if seen.setdefault((kind, name), told.customer) != told.customer:
                continue
        kept.append(told)
    return kept


@over_histories
@given(history=histories, seed=st.integers(0, 2**32))
def test_a_silent_generation_has_the_rows_of_live_and_sends_nothing(
    ready: str, history: list[Told], seed: int
) -> None:
    async def run() -> None:
        log = log_of(history, revision=REVISION)
        live_rows, _ = await built(ready, log, live=True)

        rows, messages = await built(ready, log, live=False, seed=seed)

        assert rows == live_rows
        assert messages == []

    asyncio.run(run())


@over_histories
@given(history=histories, seed=st.integers(0, 2**32))
def test_a_fact_sends_at_most_one_message_for_each_distribution(
    ready: str, history: list[Told], seed: int
) -> None:
    async def run() -> None:
        log = log_of(history, revision=REVISION)

        _, messages = await built(ready, log, live=True, seed=seed)

        told = [each for each in history if each.event is not None and not each.historical]
        assert len({each[0] for each in messages}) == len(messages) <= 2 * len(told)

    asyncio.run(run())


@pytest.mark.parametrize("batch", [0, 1])
async def test_a_fact_that_customers_of_one_partition_tell_at_once_sends_once(
    ready: str, batch: int
) -> None:
    history = [
        Told(customer=customer, event="order.completed", producer_id="a")
        for customer in range(PARTITIONS + 1)
    ]

    _, messages = await built(ready, log_of(history, revision=REVISION), live=True, batch=batch)

    assert len(messages) == 1


async def test_a_record_whose_rows_are_refused_is_a_dead_letter_and_sends_nothing(
    ready: str,
) -> None:
    log = log_of([Told(customer=1, event="order.completed")], revision=REVISION)
    async with new_build(subject(), ready, definitions(), live=True) as build:
        await build.session.execute("ALTER TABLE profiles ADD CONSTRAINT none CHECK (false)")

        await build.run(log)

        assert await build.count("dead_letters") == 1
        assert await sent(ready, await on_the_topic(build)) == []
