"""One row for each timer that fires: the least that a timer can cause."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import Struct

from projections.kernel import binary
from projections.kernel.projection import Firing, Output, Step
from projections.kernel.tables import Table
from projections.kernel.timers import Timer
from services.runtime.postgres import Session

_WAKES = Table("wakes", "customer uuid, id uuid, at timestamptz, workspace text")

_row = Struct(">hi16si16siq").pack


class Wakes:
    """Wakes at timers that somebody else has set."""

    name = "wakes"
    version = 1
    migrations = Path(__file__).parent / "migrations"
    keeps_content = False

    def working_set(self) -> list[Firing]:
        """Make an empty working set."""
        return []

    async def load(self, session: Session, working: list[Firing], steps: Sequence[Step]) -> None:
        """There is nothing to read."""
        del session, working, steps

    async def load_due(self, session: Session, working: list[Firing], due: Sequence[Timer]) -> None:
        """There is nothing to read."""
        del session, working, due

    def apply(self, working: list[Firing], step: Step) -> Iterable[Output]:
        """Records are none of its concern."""
        del working, step
        return ()

    def fire(self, working: list[Firing], firing: Firing) -> Iterable[Output]:
        """Note that it woke."""
        working.append(firing)
        return ()

    async def write(
        self, session: Session, working: list[Firing], *, live: bool
    ) -> Sequence[Output]:
        """Write the batch's rows."""
        del live
        await _WAKES.add(session, [_spell(each) for each in working])
        working.clear()
        return ()

    async def verify(self, session: Session) -> list[str]:
        """There is nothing to check the rows against."""
        del session
        return []


def _spell(firing: Firing) -> bytes:
    timer = firing.timer
    fixed = _row(
        4, 16, binary.customer_key(timer.customer), 16, timer.id, 8, binary.micros(firing.at)
    )
    return fixed + binary.name(timer.workspace)
