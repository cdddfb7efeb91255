"""A projection whose rows go over in merges, and which passes late records on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from projections.kernel import rows
from projections.kernel.projection import Late, Output, TakeOver
from services.runtime.postgres import Session
from tests.conformance.reminding import Reminding


class Gathering(Reminding):
    """Reminds of facts, also after their customer was merged into another one.

    A fact that stood at both is reminded of as it was at the survivor.
    """

    name = "gathering"
    migrations = Path(__file__).parent / "gathered"

    async def take_over(self, session: Session, taking: TakeOver) -> Sequence[Output]:
        workspace, giver = taking.record.workspace, rows.customer_uuid(taking.merged)
        taker = rows.customer_uuid(taking.record.subject)
        for doubled in taking.doubled:
            await session.execute(
                "DELETE FROM reminders WHERE workspace = %s AND customer = %s AND fact = %s::uuid",
                (workspace, giver, doubled.change.key.hex()),
            )
        await session.execute(
            "UPDATE reminders m SET customer = %(taker)s,"
            " origins = array_append(origins, %(giver)s::uuid)"
            " WHERE workspace = %(workspace)s AND customer = %(giver)s AND NOT EXISTS ("
            " SELECT FROM reminders t WHERE t.workspace = m.workspace"
            " AND t.customer = %(taker)s AND t.fact = m.fact AND t.round = m.round)",
            {"taker": taker, "giver": giver, "workspace": workspace},
        )
        return ()

    async def seal_anew(self, session: Session, late: Sequence[Late]) -> Sequence[msgspec.Raw]:
        del session
        return [each.record.data for each in late]
