"""The projection that lives by its timers, with what the simulation asks of it."""

from __future__ import annotations

from datetime import timedelta

from services.runtime.postgres import Session
from tests.conformance.logs import customer_number
from tests.conformance.reminding import Reminding

SOON = timedelta(milliseconds=2)
LATER = timedelta(seconds=1)
BROKEN = customer_number(1)
"""A customer of whom nobody can be reminded: each such timer is a dead letter."""


class Reminded(Reminding):
    """Reminds, and says which reminders came before time reached them on any clock."""

    async def verify(self, session: Session) -> list[str]:
        cursor = await session.execute(
            "SELECT count(*) FROM reminders r JOIN checkpoints c USING (partition)"
            " WHERE r.at > greatest(c.logical_time,"
            " (c.progress -> 'clocks' ->> r.workspace)::timestamptz)"
        )
        return ["a reminder came before its time"] if await cursor.fetchone() != (0,) else []
