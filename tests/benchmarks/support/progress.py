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

SETTLE_SECONDS = 300.0
LOOK_SECONDS = 0.05
DISPATCHER = "dispatcher"

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
        lag: records that the slowest has not, a webhook still owed being that of several.
    """

    at: float
    processed: Mapping[str, int]
    lag: int


class Progress:
    """Reads checkpoints and queue over a session of its own.

    Args:
        events_per_webhook: one record in so many sends a webhook.
    """

    def __init__(self, session: psycopg.AsyncConnection, *, events_per_webhook: int) -> None:
        self._session = session
        self._events_per_webhook = events_per_webhook

    async def stages(self, told: int) -> Stages:
        """Look once; ``told`` records stand in the log."""
        async with self._session.transaction():
            rows = await (await self._session.execute(_PROCESSED)).fetchall()
            owed = await (await self._session.execute(_OWED)).fetchone()
        assert owed is not None, "a count answers one row"
        processed: dict[str, int] = dict(rows)
        sent = processed[DISPATCHER] - owed[0] * self._events_per_webhook
        return Stages(
            at=time.monotonic(),
            processed=processed,
            lag=told - min(sent, *processed.values()),
        )


@asynccontextmanager
async def watching(conninfo: str, *, events_per_webhook: int) -> AsyncGenerator[Progress]:
    """Watch the processors on a database."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as session:
        await session.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        yield Progress(session, events_per_webhook=events_per_webhook)


async def settled(progress: Progress, told: int) -> None:
    """Wait until all of the log is applied and every webhook has ended.

    Raises:
        ChildFailedError: SETTLE_SECONDS passed.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while (stages := await progress.stages(told)).lag > 0:
        if time.monotonic() > deadline:
            raise ChildFailedError(f"still {stages.lag} records behind: {stages.processed}")
        await asyncio.sleep(LOOK_SECONDS)
