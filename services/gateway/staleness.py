"""Whether the processors that commands wait for are too far behind for more batches.

Guarantee: knowing it costs a request nothing: it is read in the background, and while Postgres
does not answer what is known grows older by itself. A processor that never ran is not behind.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final, LiteralString

from psycopg.errors import UndefinedTable

from services.gateway.bodies import CutOffError
from services.runtime import problems
from services.runtime.logging import logger
from services.runtime.postgres import DatabaseUnavailableError, Pool, translated

COMMANDED: Final = ("loyalty",)
"""Processors that commands wait for."""
READ_SECONDS: Final = 1.0
"""Between two looks; a processor notes its freshness twice as often."""
RETRY_AFTER_SECONDS: Final = 5

_READ: LiteralString = """
SELECT extract(epoch FROM now() - min(caught_up_at))::float8 FROM upshot.freshness
WHERE projection = ANY (%s)"""
_log = logger(__name__)


class Staleness:
    """Follows how far behind they are, from ``start`` to ``stop``."""

    def __init__(self, pool: Pool, *, max_seconds: float) -> None:
        self._pool: Final = pool
        self._max_seconds: Final = max_seconds
        self._seconds: float | None = None
        self._read_at: float = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow from now on."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def check(self) -> None:
        """Raise ``CutOffError`` (429) where they are too far behind."""
        if self._seconds is None:
            return
        seconds = self._seconds + time.monotonic() - self._read_at
        if seconds > self._max_seconds:
            detail = (
                f"What commands wait for is {seconds:.0f} s behind, more than "
                f"{self._max_seconds:.0f} s. Single events are taken."
            )
            raise CutOffError(
                problems.rate_limited(
                    detail, slug="processor-behind", retry_after_seconds=RETRY_AFTER_SECONDS
                )
            )

    async def read(self) -> None:
        """Read once how far behind they are.

        Raises:
            DatabaseUnavailableError: Postgres is away; what was known stands.
            UndefinedTable: nothing ever ran here.
        """
        with translated():
            async with self._pool.connection() as session:
                row = await (await session.execute(_READ, (list(COMMANDED),))).fetchone()
        assert row is not None, "an aggregate answers one row"
        self._seconds, self._read_at = row[0], time.monotonic()

    async def _follow(self) -> None:
        while True:
            try:
                await self.read()
            except (DatabaseUnavailableError, UndefinedTable) as error:
                _log.debug("Freshness cannot be read now", reason=type(error).__name__)
            await asyncio.sleep(READ_SECONDS)
