"""What the routes stand on: one of each for the process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import psycopg

from services.api.decisions import Commands
from services.api.definitions.relay import DefinitionsRelay
from services.api.definitions.standing import Compiled
from services.api.log import Log
from services.api.progress import Progress
from services.api.seats import Seats
from services.runtime.access import KeyStore
from services.runtime.clock import Clock
from services.runtime.kafka.producer import Producer
from services.runtime.postgres import DatabaseUnavailableError, Pool, Session, translated
from services.runtime.sealing import KeyRing, MasterKey
from services.runtime.settings import Settings

CHANGES_MAX: Final = 4
"""Changes of definitions at once: each holds a session while it waits for its workspace's lock."""
READINESS_SECONDS: Final = 1.0
"""How long a probe waits for Postgres."""


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a call may use."""

    settings: Settings
    pool: Pool
    keys: KeyStore
    producer: Producer
    relay: DefinitionsRelay
    progress: Progress
    waits: Seats
    streams: Seats
    commanding: Seats
    commands: Commands
    log: Log
    compiled: Compiled
    changing: asyncio.Semaphore
    master: MasterKey
    customer_keys: KeyRing
    clock: Clock
    preparing: asyncio.Task[None]
    openapi: bytes
    asyncapi: bytes

    async def readiness(self) -> list[str]:
        """Why the process cannot do its work, a sentence each; empty when it can."""
        reasons: list[str] = []
        try:
            async with asyncio.timeout(READINESS_SECONDS), self.session() as session:
                await session.execute("SELECT FROM upshot.api_keys LIMIT 0")
        except (DatabaseUnavailableError, TimeoutError):
            reasons.append("Postgres does not answer.")
        except psycopg.errors.UndefinedTable:
            reasons.append("The control schema is not there yet.")
        if not self.relay.is_caught_up:
            reasons.append("Definitions wait to be relayed to the log.")
        return reasons

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """A session of the pool; driver errors come out translated."""
        with translated():
            async with self.pool.connection() as session:
                yield session
