"""How long a request waits for a session of the pool: hardly at all while Postgres is known away.

Guarantee: some two seconds into an outage requests are refused at once instead of each waiting for
it to end; the first answer of Postgres ends that, and within seconds the pool has sessions again.
"""

import asyncio
from typing import Final

from services.runtime.logging import logger
from services.runtime.postgres import (
    POOL_WAIT_SECONDS,
    DatabaseUnavailableError,
    Pool,
    connect,
    translated,
)

LOOK_SECONDS: Final = 1.0
"""Between two looks whether Postgres answers, and how long a look waits for the answer."""
AWAY_WAIT_SECONDS: Final = 0.1
"""Wait of a request while Postgres is away: enough for the pool to open a session again."""

_log = logger(__name__)


async def keep_patience(pool: Pool, conninfo: str) -> None:
    """Set the pool's patience by what Postgres says, on a session of its own; never returns."""
    while True:
        try:
            await _look_until_away(pool, conninfo)
        except (DatabaseUnavailableError, TimeoutError):
            if pool.timeout != AWAY_WAIT_SECONDS:
                _log.warning("Postgres does not answer; requests are refused at once.")
            pool.timeout = AWAY_WAIT_SECONDS
        await asyncio.sleep(LOOK_SECONDS)


async def _look_until_away(pool: Pool, conninfo: str) -> None:
    session = await connect(conninfo)
    try:
        while True:
            with translated():
                async with asyncio.timeout(LOOK_SECONDS):
                    await session.execute("SELECT")
            pool.timeout = POOL_WAIT_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await session.close()
