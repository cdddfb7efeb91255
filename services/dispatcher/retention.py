"""Forgets deliveries that ended long ago, so that the queue stays bounded.

Guarantee: a delivery that is still owed is never forgotten. Messages go with their deliveries,
after as long as the topic ``webhooks`` keeps its copy of them.
"""

import asyncio
from typing import Final, LiteralString

import structlog

from contracts.topics import WEBHOOK_RETENTION_MS
from services.dispatcher.deliveries import SCHEMA
from services.runtime.postgres import DatabaseUnavailableError, Session, connect, translated

KEPT_SECONDS: Final = WEBHOOK_RETENTION_MS // 1000
SWEEP_SECONDS: Final = 600.0
"""How often; a busy queue of 2,000 deliveries a second has 1.2 million in that time."""
SWEEP_MAX: Final = 5_000
"""Deliveries forgotten in one statement, so that none is long."""

_FORGET: LiteralString = """
WITH old AS (
    DELETE FROM deliveries.deliveries d WHERE d.id IN (
        SELECT o.id FROM deliveries.deliveries o
        WHERE o.created_at < now() - make_interval(secs => %(kept)s)
            AND o.ended_at < now() - make_interval(secs => %(kept)s)
        LIMIT %(most)s FOR UPDATE SKIP LOCKED)
    RETURNING d.id, d.message
), attempts_of_old AS (
    DELETE FROM deliveries.attempts a USING old WHERE a.delivery = old.id
)
DELETE FROM deliveries.messages m USING old WHERE m.id = old.message"""
_FORGET_UNOWED: LiteralString = """
DELETE FROM deliveries.messages WHERE id IN (
    SELECT m.id FROM deliveries.messages m
    WHERE m.created_at < now() - make_interval(secs => %(kept)s) AND m.delivery IS NULL
    LIMIT %(most)s FOR UPDATE SKIP LOCKED)"""
_FORGET_HOURS: LiteralString = """
DELETE FROM deliveries.endpoint_hours WHERE hour < now() - make_interval(secs => %(kept)s)"""

_log = structlog.get_logger(__name__)


class Retention:
    """Forgets until cancelled; several processes may do so at once."""

    def __init__(self, conninfo: str, *, kept_seconds: int = KEPT_SECONDS) -> None:
        self._conninfo = conninfo
        self._kept_seconds = kept_seconds

    async def run(self) -> None:
        """Sweep, and again after a while."""
        while True:
            try:
                await self.sweep()
            except DatabaseUnavailableError as error:
                _log.warning("old deliveries cannot be forgotten now", detail=str(error))
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> int:
        """Forget what is old; answer how many messages were.

        Raises:
            DatabaseUnavailableError: Postgres did not answer; some may be forgotten already.
        """
        session = await connect(self._conninfo, schema=SCHEMA)
        try:
            with translated():
                return await self._sweep(session)
        finally:
            await session.close()

    async def _sweep(self, session: Session) -> int:
        values = {"kept": self._kept_seconds, "most": SWEEP_MAX}
        await session.execute(_FORGET_HOURS, values)
        total = 0
        for statement in (_FORGET, _FORGET_UNOWED):
            while count := (await session.execute(statement, values)).rowcount:
                total += count
        return total
