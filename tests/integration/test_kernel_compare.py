"""Holding a rebuilt generation against the live one, while traffic goes on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from psycopg import sql

from projections.kernel.compare import Comparison, compare
from projections.kernel.generations import Generation
from services.runtime.postgres import connect
from tests.support.eventually import eventually
from tests.support.kernel import (
    Log,
    column,
    live_loyalty,
    new_customer,
    new_log,
    next_loyalty,
    purchase,
    reading,
)

pytestmark = pytest.mark.timeout(120)
READING_SECONDS = 30.0
PURCHASES = 30


async def _compared(database: str, live: Generation, candidate: Generation) -> Comparison:
    snapshot, steering = await connect(database), await connect(database)
    try:
        return await compare(snapshot, steering, live, candidate)
    finally:
        await snapshot.close()
        await steering.close()


async def _has_entries(database: str, generation: Generation, count: int) -> bool:
    return await column(database, generation, "SELECT count(*) FROM entries") == [count]


@asynccontextmanager
async def _both(log: Log, database: str) -> AsyncGenerator[tuple[Generation, Generation]]:
    """Read thirty purchases into a live generation and into one beside it."""
    live, candidate = await live_loyalty(database), await next_loyalty(database)
    customer = new_customer()
    await log.append(customer, *(purchase(customer, f"order-{n}") for n in range(PURCHASES)))
    async with reading(log, database, live), reading(log, database, candidate):
        for generation in (live, candidate):
            await eventually(
                lambda each=generation: _has_entries(database, each, PURCHASES), READING_SECONDS
            )
        yield live, candidate


async def test_generations_are_equal_under_traffic(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log, _both(log, database) as (live, candidate):
        stop = asyncio.Event()
        traffic = asyncio.create_task(_traffic(log, stop))

        found = await _compared(database, live, candidate)

        stop.set()
        sent = await traffic
        assert found.equal
        assert {table.table for table in found.tables} >= {"entries", "lots", "members", "facts"}
        for generation in (live, candidate):
            await eventually(
                lambda each=generation: _has_entries(database, each, PURCHASES + sent),
                READING_SECONDS,
            )


async def _traffic(log: Log, stop: asyncio.Event) -> int:
    sent = 0
    while not stop.is_set():
        customer = new_customer()
        await log.append(customer, purchase(customer, f"later-{sent}"))
        sent += 1
    return sent


async def test_a_row_that_differs_is_shown_from_both_sides(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log, _both(log, database) as (live, candidate):
        session = await connect(database)
        entries = sql.Identifier(candidate.schema, "entries")
        await session.execute(
            sql.SQL("UPDATE {} SET rule = 'tampered' WHERE record_offset = 7").format(entries)
        )
        await session.close()

        found = await _compared(database, live, candidate)

        assert not found.equal
        (different,) = [table for table in found.tables if not table.equal]
        assert different.table == "entries"
        assert len(different.only_live) == len(different.only_next) == 1
        assert "tampered" in different.only_next[0]
