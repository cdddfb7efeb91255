"""How far the live generations have read, and waiting for them.

Guarantee: however many requests wait, one read model is asked once each ``POLL_SECONDS``; a wait
ends by its own deadline.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

import msgspec
from psycopg import errors, sql

from contracts.places import Position
from services.runtime.postgres import DatabaseUnavailableError, Pool, Session, translated

POLL_SECONDS: Final = 0.005
"""Between two looks at a read model that someone waits for."""
GENERATION_AGE_SECONDS: Final = 1.0
"""How long the number of a live generation is believed; it changes with a promotion only."""


class NoReadModelError(Exception):
    """The projection has no live generation: its processor never ran here."""


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A generation of a projection's read model, with the schema its tables live in."""

    projection: str
    number: int
    state: str
    model_version: int

    @property
    def schema(self) -> str:
        """Name of its Postgres schema."""
        return f"{self.projection}_g{self.number}"


_FIND_LIVE: LiteralString = """
SELECT projection, generation, state, model_version FROM upshot.generations
WHERE projection = %s AND state = 'live'"""


class Progress:
    """Knows the live generations and wakes who waits for their checkpoints."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._live: dict[str, tuple[Generation, float]] = {}
        self._watchers: dict[str, _Watcher] = {}

    async def live(self, session: Session, projection: str) -> Generation:
        """The projection's live generation.

        Raises:
            NoReadModelError: there is none.
        """
        known = self._live.get(projection)
        if known is not None and time.monotonic() - known[1] < GENERATION_AGE_SECONDS:
            return known[0]
        row = await (await session.execute(_FIND_LIVE, (projection,))).fetchone()
        if row is None:
            raise NoReadModelError(projection)
        found = Generation(projection=row[0], number=row[1], state=row[2], model_version=row[3])
        self._live[projection] = (found, time.monotonic())
        return found

    async def wait(
        self, projection: str, positions: Sequence[Position], timeout_seconds: float
    ) -> bool:
        """Wait until the live generation has passed every position; false at the deadline."""
        wanted: dict[int, int] = {}
        for position in positions:
            wanted[position.partition] = max(wanted.get(position.partition, -1), position.offset)
        watcher = self._watchers.get(projection)
        if watcher is None:
            watcher = self._watchers[projection] = _Watcher(self, projection)
        return await watcher.wait(wanted, timeout_seconds)

    async def checkpoints(self, projection: str) -> dict[int, int]:
        """Next offset of each partition that the live generation has read from.

        Raises:
            DatabaseUnavailableError: Postgres did not answer.
            NoReadModelError: there is no live generation.
        """
        with translated():
            async with self._pool.connection() as session:
                return await read_checkpoints(session, await self.live(session, projection))


async def read_checkpoints(session: Session, generation: Generation) -> dict[int, int]:
    """Next offset of each partition; empty while the generation's tables are not there."""
    query = sql.SQL("SELECT partition, next_offset FROM {}.checkpoints").format(
        sql.Identifier(generation.schema)
    )
    try:
        rows = await (await session.execute(query)).fetchall()
    except errors.UndefinedTable:
        return {}
    return {row[0]: row[1] for row in rows}


class _Watcher:
    """Looks at one projection's checkpoints for as long as someone waits."""

    def __init__(self, progress: Progress, projection: str) -> None:
        self._progress = progress
        self._projection = projection
        self._waiting: dict[asyncio.Future[None], Mapping[int, int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait(self, wanted: Mapping[int, int], timeout_seconds: float) -> bool:
        """Wait until every partition's next offset is above the one wanted."""
        passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[passed] = wanted
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(timeout_seconds):
                await passed
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(passed, None)
        return True

    async def _watch(self) -> None:
        while self._waiting:
            try:
                reached = await self._progress.checkpoints(self._projection)
            except (NoReadModelError, DatabaseUnavailableError):
                reached = {}
            for passed, wanted in self._waiting.items():
                if not passed.done() and all(
                    reached.get(partition, 0) > offset for partition, offset in wanted.items()
                ):
                    passed.set_result(None)
            await asyncio.sleep(POLL_SECONDS)
