"""The dispatcher as the kernel runs it: profiles folded from the log, messages put out.

Guarantee: what a record sets off enters the queue, and the outbox of the topic ``webhooks``, in the
transaction that moves the checkpoint, and only from the live generation; a rebuild folds profiles
and sends nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from contracts.topics import WEBHOOKS
from projections.kernel.projection import Output, RawOutput, Step
from services.dispatcher import profiles
from services.dispatcher.deliveries import NewMessage, enqueue
from services.dispatcher.messages import message_of
from services.dispatcher.working import Firing, WorkingSet, fold
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
        """Fold one step; which messages it puts out, ``write`` knows."""
        fold(working, step)
        return ()

    async def write(
        self, session: Session, working: WorkingSet, *, live: bool
    ) -> Sequence[Output | RawOutput]:
        """Write profiles that changed; when live, put out what was set off."""
        await profiles.write(session, working)
        outputs = await self._put_out(session, working.firings) if live else ()
        working.end_batch()
        return outputs

    async def _put_out(self, session: Session, firings: Sequence[Firing]) -> list[RawOutput]:
        fresh = await enqueue(
            session,
            [message_of(firing) for firing in firings],
            first_wait_seconds=self._first_wait_seconds,
        )
        self._written(fresh)
        return [
            RawOutput(
                topic=WEBHOOKS,
                partition=message.partition,
                customer=message.customer,
                value=message.body,
            )
            for message in fresh
        ]

    async def verify(self, session: Session) -> list[str]:
        """Check that every customer with a fact has a profile."""
        row = await (await session.execute(_ORPHANED_PROFILES)).fetchone()
        assert row is not None, "a count answers one row"
        return [f"facts whose customer has no profile: {row[0]}"] if row[0] else []
