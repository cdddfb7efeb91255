"""How far every processor of a running system is, and what it still owes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import LiteralString

import msgspec
import psycopg
from psycopg import sql

from services.stack.processes import BACKGROUND
from tests.benchmarks.support.processes import ChildFailedError
from tests.benchmarks.support.projecting import first_generation

SETTLE_SECONDS = 120.0
LOOK_SECONDS = 0.05

_PROCESSED = sql.SQL(" UNION ALL ").join(
    sql.SQL("SELECT {}, coalesce(sum(next_offset), 0)::bigint FROM {}").format(
        sql.Literal(name), sql.Identifier(first_generation(name), "checkpoints")
    )
    for name in BACKGROUND
)
_OWED: LiteralString = """
SELECT count(*) FROM deliveries.deliveries WHERE state IN ('pending', 'delivering')"""


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """One look.

    Attributes:
        at: CLOCK_MONOTONIC seconds.
        processed: records that each processor committed, by its name.
        lag: records that the slowest has not.
    """

    at: float
    processed: Mapping[str, int]
    lag: int


class Progress:
    """Reads checkpoints over a session of its own."""

    def __init__(self, session: psycopg.AsyncConnection) -> None:
        self._session = session

    async def stages(self, told: int) -> Stages:
        """Look once; ``told`` records stand in the log."""
        rows = await (await self._session.execute(_PROCESSED)).fetchall()
        processed: dict[str, int] = dict(rows)
        return Stages(at=time.monotonic(), processed=processed, lag=told - min(processed.values()))

    async def owed(self) -> int:
        """Count deliveries that have not ended."""
        row = await (await self._session.execute(_OWED)).fetchone()
        assert row is not None, "a count answers one row"
        count: int = row[0]
        return count


@asynccontextmanager
async def watching(conninfo: str) -> AsyncGenerator[Progress]:
    """Watch the processors on a database."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as session:
        yield Progress(session)


async def settled(progress: Progress, told: int) -> None:
    """Wait until all of the log is applied and every webhook has ended.

    Raises:
        ChildFailedError: SETTLE_SECONDS passed.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        lag = (await progress.stages(told)).lag
        owed = await progress.owed()
        if lag <= 0 and not owed:
            return
        if time.monotonic() > deadline:
            raise ChildFailedError(f"still {lag} records behind, deliveries owed: {owed}")
        await asyncio.sleep(LOOK_SECONDS)
