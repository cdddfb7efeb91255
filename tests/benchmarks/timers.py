"""A million timers due at one instant, and how soon a single one fires when nothing else happens.

The million are put into the rows of a new generation, due before the log's first record; then the
projection's processes start. Each timer writes one row.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import LiteralString

import psycopg
from psycopg import sql

from projections.kernel import generations
from services.runtime.postgres import connect, migrate_control
from tests.benchmarks.support.figures import Figure, at_least, at_most
from tests.benchmarks.support.kafka import PARTITIONS
from tests.benchmarks.support.log import Log, anonymous, filled_log
from tests.benchmarks.support.processes import Child, ChildFailedError
from tests.benchmarks.support.projecting import database, first_generation, processing
from tests.benchmarks.support.servers import Stack
from tests.benchmarks.wakes.projection import Wakes

TIMERS = 1_000_000
PER_SECOND_MIN = 20_000
PROCESSES = (1, 2)
RECORDS = 1_200
DUE = datetime(2026, 1, 1, tzinfo=UTC)
LOOK_SECONDS = 0.25
FIRE_SECONDS_MAX = 300.0
IDLE_TIMERS = 60
IDLE_FIRST_SECONDS = 30.0  # until then the process has started
IDLE_EVERY_SECONDS = 0.4
IDLE_LOOK_SECONDS = 0.002
IDLE_MS_MAX = 50.0

_SET: LiteralString = """
INSERT INTO {} (workspace, customer, kind, id, partition, clock, due, correlation, depth)
SELECT 'demo', gen_random_uuid(), 'wake', gen_random_uuid(), n %% %s, '', %s, '', 0
FROM generate_series(1, %s) AS n"""
_SET_APART: LiteralString = """
INSERT INTO {} (workspace, customer, kind, id, partition, clock, due, correlation, depth)
SELECT 'demo', gen_random_uuid(), 'wake', gen_random_uuid(), n %% %s, '',
    %s::timestamptz + n * make_interval(secs => %s), '', 0
FROM generate_series(1, %s) AS n"""
_NEWEST: LiteralString = "SELECT at FROM {} WHERE at > %s"
_FIRED: LiteralString = "SELECT count(*) FROM {}"


async def measure(stack: Stack) -> list[Figure]:
    async with filled_log(stack.kafka, anonymous, records=RECORDS, customers=RECORDS) as log:
        many = [await _measured(stack, log, number) for number in PROCESSES]
        return [*many, await _idle(stack, log)]


async def _measured(stack: Stack, log: Log, processes: int) -> Figure:
    schema = first_generation("wakes")
    async with database(stack) as conninfo:
        await _set_timers(conninfo, schema, _SET, (PARTITIONS, DUE, TIMERS))
        async with processing(
            stack, log, conninfo, "tests.benchmarks.wakes", processes=processes
        ) as children:
            rate = await _fired(conninfo, schema, children)
            memory = max(child.usage().peak_memory_bytes for child in children)
    return Figure(
        name=f"timers due at one instant, {processes} process{'es' if processes > 1 else ''}",
        value=rate,
        unit="timers/s",
        goal=at_least(PER_SECOND_MIN) if processes == max(PROCESSES) else None,
        note=f"{TIMERS:,} of them, {memory / 2**20:.0f} MiB at most",
    )


async def _idle(stack: Stack, log: Log) -> Figure:
    """How long after its instant a timer's row stands, while nothing else happens."""
    schema = first_generation("wakes")
    async with database(stack) as conninfo:
        first = datetime.now(tz=UTC) + timedelta(seconds=IDLE_FIRST_SECONDS)
        parameters = (PARTITIONS, first, IDLE_EVERY_SECONDS, IDLE_TIMERS)
        await _set_timers(conninfo, schema, _SET_APART, parameters)
        async with processing(stack, log, conninfo, "tests.benchmarks.wakes", processes=1):
            late_ms = sorted(await _lateness(conninfo, schema))
    return Figure(
        name="a timer's row after its instant, idle",
        value=median(late_ms),
        unit="ms",
        goal=at_most(IDLE_MS_MAX),
        note=f"median of {len(late_ms)}, one every {IDLE_EVERY_SECONDS} s; all but three in a "
        f"hundred within {late_ms[-1 - len(late_ms) * 3 // 100]:.0f} ms, at most "
        f"{late_ms[-1]:.0f} ms; looked at every {IDLE_LOOK_SECONDS * 1000:.0f} ms",
    )


async def _lateness(conninfo: str, schema: str) -> list[float]:
    query = sql.SQL(_NEWEST).format(sql.Identifier(schema, "wakes"))
    found: list[float] = []
    seen = DUE
    async with (
        asyncio.timeout(FIRE_SECONDS_MAX),
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as session,
    ):
        while len(found) < IDLE_TIMERS:
            rows = await (await session.execute(query, (seen,))).fetchall()
            now = datetime.now(tz=UTC)
            found += [(now - at).total_seconds() * 1000 for (at,) in rows]
            seen = max((at for (at,) in rows), default=seen)
            await asyncio.sleep(IDLE_LOOK_SECONDS)
    return found


async def _set_timers(
    conninfo: str, schema: str, statement: LiteralString, parameters: Sequence[object]
) -> None:
    projection = Wakes()
    await migrate_control(conninfo)
    session = await connect(conninfo)
    try:
        await generations.ensure_live(
            session,
            projection.name,
            version=projection.version,
            partitions=PARTITIONS,
            migrations=projection.migrations,
        )
        query = sql.SQL(statement).format(sql.Identifier(schema, "timers"))
        await session.execute(query, parameters)
        await session.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, "timers")))
    finally:
        await session.close()


async def _fired(conninfo: str, schema: str, children: list[Child]) -> float:
    """Answer timers a second, from the first look that saw one to the look that saw all."""
    query = sql.SQL(_FIRED).format(sql.Identifier(schema, "wakes"))
    began, first = time.monotonic(), None
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as session:
        while True:
            row = await (await session.execute(query)).fetchone()
            now, count = time.monotonic(), 0 if row is None else row[0]
            if first is None and count:
                first = now, count
            if first is not None and count >= TIMERS:
                return (count - first[1]) / (now - first[0])
            if now - began > FIRE_SECONDS_MAX:
                raise ChildFailedError(f"{count:,} timers fired, {children[0].complaint()}")
            await asyncio.sleep(LOOK_SECONDS)
