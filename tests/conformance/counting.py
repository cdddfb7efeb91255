"""The smallest projection there can be: how many facts count at each customer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from projections.kernel import rows
from projections.kernel.projection import Output, Step
from services.runtime.postgres import Session


class Counting:
    """Counts facts."""

    name = "counting"
    version = 1
    migrations = Path(__file__).parent / "migrations"
    keeps_content = False

    def working_set(self) -> dict[tuple[str, str], int]:
        return {}

    async def load(
        self, session: Session, working: dict[tuple[str, str], int], steps: Sequence[Step]
    ) -> None:
        del session, steps
        assert not working, "a batch starts afresh"

    def apply(self, working: dict[tuple[str, str], int], step: Step) -> Iterable[Output]:
        if step.change is not None:
            key = (step.record.workspace, step.record.subject)
            more = (step.change.after is not None) - (step.change.before is not None)
            working[key] = working.get(key, 0) + more
        return ()

    async def write(
        self, session: Session, working: dict[tuple[str, str], int], *, live: bool
    ) -> Sequence[Output]:
        del live
        for (workspace, customer), more in sorted(working.items()):
            await session.execute(
                "INSERT INTO counts AS c VALUES (%s, %s, %s)"
                " ON CONFLICT ON CONSTRAINT counts_have_one_row_a_customer"
                " DO UPDATE SET facts = c.facts + excluded.facts",
                (workspace, rows.customer_uuid(customer), more),
            )
        working.clear()
        return ()

    async def verify(self, session: Session) -> list[str]:
        found = await (
            await session.execute("SELECT count(*) FROM counts WHERE facts < 0")
        ).fetchone()
        return ["some count is below zero"] if found != (0,) else []
