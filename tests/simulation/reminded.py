"""The projection that lives by its timers, with what the simulation asks of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from projections.kernel.projection import Effect, Firing
from services.runtime.postgres import Session
from tests.conformance.gathering import Gathering
from tests.conformance.logs import customer_number
from tests.conformance.reminding import Reminder, Reminding
from tests.simulation.stories import REVISIONS

SOON = timedelta(milliseconds=2)
LATER = timedelta(seconds=1)
BROKEN = customer_number(1)
"""A customer of whom nobody can be reminded for a while: each such timer is a dead letter."""


class Reminded(Reminding):
    """Reminds, but cannot remind one customer before definitions that mend it are in force."""

    def fire(self, working: list[Reminder], firing: Firing) -> Iterable[Effect]:
        if firing.timer.customer == BROKEN and firing.snapshot.revision < REVISIONS:
            raise ValueError(BROKEN)
        return super().fire(working, firing)

    async def verify(self, session: Session) -> list[str]:
        cursor = await session.execute(
            "SELECT count(*) FROM reminders r JOIN checkpoints c USING (partition)"
            " WHERE r.at > greatest(c.logical_time,"
            " (c.progress -> 'clocks' ->> r.workspace)::timestamptz)"
        )
        return ["a reminder came before its time"] if await cursor.fetchone() != (0,) else []


class Gathered(Gathering):
    """Reminds, also after merges, and passes late records on."""

    async def verify(self, session: Session) -> list[str]:
        del session  # a row keeps the partition it was made in, and may be renewed in another one
        return []
