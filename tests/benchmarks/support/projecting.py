"""Projections as their users run them: processes over a filled log and a database of their own.

The clock runs from the last look at which no record was applied to the first at which all were; a
record counts as applied when its rows are committed.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import LiteralString
from uuid import uuid4

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from projections.kernel.generations import schema_of
from tests.benchmarks.support.kafka import PARTITIONS
from tests.benchmarks.support.log import Log
from tests.benchmarks.support.processes import Child, ChildFailedError, python, running
from tests.benchmarks.support.servers import Stack

LOOK_SECONDS = 0.02
START_SECONDS = 90.0
RUN_SECONDS = 1_800.0

_APPLIED: LiteralString = "SELECT coalesce(sum(next_offset), 0)::bigint FROM {}"


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """How a generation was filled.

    Attributes:
        progress: (seconds since the first record, records applied) at each look.
        processor_microseconds: of the processor's processes, an event, from the first on.
        peak_memory_bytes: of the largest process.
    """

    records: int
    progress: list[tuple[float, int]]
    processor_microseconds: float
    peak_memory_bytes: int

    @property
    def seconds(self) -> float:
        return self.progress[-1][0]

    @property
    def events_per_second(self) -> float:
        return self.records / self.seconds

    def rate_between(self, first: int, last: int) -> float:
        """Events a second between two counts of records applied."""
        start = next(at for at, count in self.progress if count >= first)
        end = next(at for at, count in self.progress if count >= last)
        return (last - first) / (end - start)


@asynccontextmanager
async def database(stack: Stack) -> AsyncGenerator[str]:
    """A database of that block's own; gives its conninfo."""
    name = f"benchmark_{uuid4().hex[:12]}"
    async with await psycopg.AsyncConnection.connect(stack.postgres, autocommit=True) as session:
        await session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(stack.postgres, dbname=name)
        finally:
            await session.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@asynccontextmanager
async def processing(
    stack: Stack, log: Log, conninfo: str, module: str, *, processes: int
) -> AsyncGenerator[list[Child]]:
    """Run processes of a projection over the log while the block runs."""
    folder = stack.scratch / f"{log.prefix}{module}"
    folder.mkdir(exist_ok=True)
    environment = {
        "UPSHOT_DATA_DIR": str(folder),
        "UPSHOT_KAFKA": stack.kafka,
        "UPSHOT_POSTGRES": conninfo,
        "UPSHOT_TOPIC_PREFIX": log.prefix,
        "UPSHOT_PARTITIONS": str(PARTITIONS),
        "UPSHOT_HEALTH_PORT": "0",
    }
    async with AsyncExitStack() as held:
        yield [
            await held.enter_async_context(
                running(
                    python(module),
                    scratch=stack.scratch,
                    name=f"{module}-{number}",
                    environment=environment,
                )
            )
            for number in range(processes)
        ]


async def filled(conninfo: str, schema: str, log: Log, children: Sequence[Child]) -> Applied:
    """Watch a generation until it has applied the whole log.

    Raises:
        ChildFailedError: a process ended, or RUN_SECONDS passed.
    """
    started, first_at = time.monotonic(), None
    used = _cpu_seconds(children)
    progress: list[tuple[float, int]] = []
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as session:
        before, used_before = time.monotonic(), used
        while not progress or progress[-1][1] < log.records:
            count = await _count(session, schema)
            now = time.monotonic()
            if count and first_at is None:
                first_at, used = before, used_before
            if first_at is not None and (not progress or count > progress[-1][1]):
                progress.append((now - first_at, count))
            for child in children:
                if child.process.returncode is not None:
                    raise ChildFailedError(child.complaint())
            before, used_before = now, _cpu_seconds(children)
            if now - started > (RUN_SECONDS if progress else START_SECONDS):
                raise ChildFailedError(f"{count} records applied, {children[0].complaint()}")
            await asyncio.sleep(LOOK_SECONDS)
    spent = _cpu_seconds(children) - used
    return Applied(
        records=log.records,
        progress=progress,
        processor_microseconds=spent / log.records * 1e6,
        peak_memory_bytes=max(child.usage().peak_memory_bytes for child in children),
    )


def _cpu_seconds(children: Sequence[Child]) -> float:
    return sum(child.usage().cpu_seconds for child in children)


async def _count(session: psycopg.AsyncConnection, schema: str) -> int:
    try:
        found = await session.execute(
            sql.SQL(_APPLIED).format(sql.Identifier(schema, "checkpoints"))
        )
    except psycopg.errors.UndefinedTable:
        return 0
    row = await found.fetchone()
    assert row is not None, "a sum answers one row"
    count: int = row[0]
    return count


def first_generation(projection: str) -> str:
    """Name the schema that a projection fills first."""
    return schema_of(projection, 1)
