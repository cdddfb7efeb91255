"""The dispatcher as the kernel runs it: profiles folded from the log, messages into the queue.

Guarantee: what a record sets off enters the queue in the transaction that moves the checkpoint, and
only from the live generation; a rebuild folds profiles and sends nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from projections.kernel.projection import Output, Step
from services.dispatcher import profiles
from services.dispatcher.deliveries import NewMessage, enqueue
from services.dispatcher.messages import message_of
from services.dispatcher.working import WorkingSet, fold
from services.runtime.postgres import Session
from services.runtime.sealing import KeyRing, MasterKey

MODEL_VERSION: Final = 1
"""Raised with every change after which the same log gives other rows."""

Written = Callable[[Sequence[NewMessage]], None]
"""Told which messages were written, before their transaction is committed."""

_ORPHANED_PROFILES = """
SELECT count(*) FROM facts f LEFT JOIN profiles p USING (workspace, customer)
WHERE p.customer IS NULL"""


class Dispatcher:
    """Matches facts with distributions and writes messages into the queue of deliveries."""

    name = "dispatcher"
    version = MODEL_VERSION
    migrations = Path(__file__).parent / "profile_migrations"
    keeps_content = False

    def __init__(self, master: MasterKey, *, first_wait_seconds: int, written: Written) -> None:
        self._keys = KeyRing(master)
        self._first_wait_seconds = first_wait_seconds
        self._written = written

    def working_set(self) -> WorkingSet:
        """Make an empty working set."""
        return WorkingSet()

    async def load(self, session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
        """Read the customers of these steps, and open what is sealed."""
        await profiles.load(session, self._keys, working, steps)

    def apply(self, working: WorkingSet, step: Step) -> Iterable[Output]:
        """Fold one step; messages go out by the queue, not as outputs of the kernel."""
        fold(working, step)
        return ()

    async def write(self, session: Session, working: WorkingSet, *, live: bool) -> Sequence[Output]:
        """Write profiles that changed and, when live, what was set off."""
        await profiles.write(session, working)
        if live and working.firings:
            messages = [message_of(firing) for firing in working.firings]
            await enqueue(session, messages, first_wait_seconds=self._first_wait_seconds)
            self._written(messages)
        working.end_batch()
        return ()

    async def verify(self, session: Session) -> list[str]:
        """Check that every customer with a fact has a profile."""
        row = await (await session.execute(_ORPHANED_PROFILES)).fetchone()
        assert row is not None, "a count answers one row"
        return [f"facts whose customer has no profile: {row[0]}"] if row[0] else []
