"""Loyalty's full ledger: every event earns an entry, a lot, a version row and an output record.

``ledger`` fills the live generation and then the next one by a rebuild; ``growth`` fills one with
ten times as many events and compares the cost at its end with that at its start.
"""

from typing import LiteralString

import msgspec
import psycopg
from psycopg import sql

from projections.kernel import generations
from projections.loyalty.projection import Loyalty
from services.runtime.postgres import connect
from tests.benchmarks.support.figures import Figure, at_least, at_most
from tests.benchmarks.support.kafka import PARTITIONS
from tests.benchmarks.support.log import Log, filled_log, versioned
from tests.benchmarks.support.processes import Child, ChildFailedError
from tests.benchmarks.support.projecting import (
    Applied,
    database,
    filled,
    first_generation,
    processing,
)
from tests.benchmarks.support.servers import Stack

RECORDS = 1_000_000
CUSTOMERS = 50_000
PROCESSES = (1, 2)
PER_SECOND_MIN = 60_000
GROWTH_RECORDS = 10_000_000
GROWTH_CUSTOMERS = 500_000
GROWTH_MAX = 2.0
MODULE = "projections.loyalty"

_ROWS: LiteralString = """
SELECT (SELECT count(*) FROM {entries}), (SELECT count(*) FROM {lots}),
    (SELECT count(*) FROM {facts}), (SELECT count(*) FROM {members})"""
_BYTES: LiteralString = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r'"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a generation holds."""

    rows: int
    size_bytes: int


async def measure(stack: Stack) -> list[Figure]:
    async with filled_log(stack.kafka, versioned, records=RECORDS, customers=CUSTOMERS) as log:
        return [figure for number in PROCESSES for figure in await _ledger(stack, log, number)]


async def _ledger(stack: Stack, log: Log, processes: int) -> list[Figure]:
    async with (
        database(stack) as conninfo,
        processing(stack, log, conninfo, MODULE, processes=processes) as children,
    ):
        schema = first_generation("loyalty")
        live = await filled(conninfo, schema, log, children)
        kept = await _kept(conninfo, schema, log)
        rebuilt = await _rebuilt(conninfo, log, children)
    goal = at_least(PER_SECOND_MIN) if processes == max(PROCESSES) else None
    suffix = f"{processes} process{'es' if processes > 1 else ''}"
    return [
        Figure(
            name=f"loyalty's full ledger, {suffix}",
            value=live.events_per_second,
            unit="events/s",
            goal=goal,
            note=f"{_cost(live)}; {kept.rows / log.records:.2f} rows and "
            f"{kept.size_bytes / log.records:.0f} bytes an event, indexes included",
        ),
        Figure(
            name=f"loyalty rebuilt, {suffix}",
            value=rebuilt.events_per_second,
            unit="events/s",
            goal=goal,
            note=_cost(rebuilt),
        ),
        Figure(
            name=f"loyalty's peak memory, {suffix}",
            value=rebuilt.peak_memory_bytes / 2**20,
            unit="MiB",
            note="of the larger process, rebuild included",
        ),
    ]


async def grown(stack: Stack) -> list[Figure]:
    """The cost of an event after ten million, against that of the first million."""
    async with (
        filled_log(
            stack.kafka, versioned, records=GROWTH_RECORDS, customers=GROWTH_CUSTOMERS
        ) as log,
        database(stack) as conninfo,
        processing(stack, log, conninfo, MODULE, processes=max(PROCESSES)) as children,
    ):
        live = await filled(conninfo, first_generation("loyalty"), log, children)
    first = live.rate_between(1, RECORDS)
    last = live.rate_between(GROWTH_RECORDS - RECORDS, GROWTH_RECORDS)
    return [
        Figure(
            name="loyalty's cost from 1 to 10 million events",
            value=first / last,
            unit="times",
            goal=at_most(GROWTH_MAX),
            note=f"{first:,.0f} events/s over the first million, {last:,.0f} over the tenth; "
            f"{_cost(live)}; {live.peak_memory_bytes / 2**20:.0f} MiB at most",
        )
    ]


async def _rebuilt(conninfo: str, log: Log, children: list[Child]) -> Applied:
    projection = Loyalty()
    session = await connect(conninfo)
    try:
        made = await generations.make_next(
            session,
            projection.name,
            version=projection.version,
            partitions=PARTITIONS,
            migrations=projection.migrations,
        )
    finally:
        await session.close()
    return await filled(conninfo, made.schema, log, children)


async def _kept(conninfo: str, schema: str, log: Log) -> Kept:
    tables = {
        name: sql.Identifier(schema, name) for name in ("entries", "lots", "facts", "members")
    }
    async with await psycopg.AsyncConnection.connect(conninfo) as session:
        counts = await (await session.execute(sql.SQL(_ROWS).format(**tables))).fetchone()
        size = await (await session.execute(_BYTES, (schema,))).fetchone()
    assert counts is not None, "counts answer one row"
    assert size is not None, "a sum answers one row"
    if tuple(counts[:3]) != (log.records,) * 3:
        raise ChildFailedError(f"entries, lots and facts are {counts[:3]}, not {log.records} each")
    return Kept(rows=sum(counts), size_bytes=size[0])


def _cost(applied: Applied) -> str:
    return f"{applied.processor_microseconds:.1f} µs of processor time an event besides Postgres"
