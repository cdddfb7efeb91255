"""Rows of the read model, read and written by sets: never a statement per event.

Guarantee: a partition writes rows of its own customers only; ``owners`` alone has rows that several
partitions write, locked in the order of their keys.
"""

from collections.abc import Sequence

from projections.customers.model import WorkingSet
from projections.customers.store import customers, events, owners, seals, timeline
from projections.customers.store.merging import take_over
from projections.customers.store.sealed_anew import seal_anew
from projections.kernel.projection import Output, Step
from services.runtime.postgres import Session
from services.runtime.sealing import KeyRing

__all__ = ["load", "seal_anew", "take_over", "write"]


async def load(session: Session, keys: KeyRing, working: WorkingSet, steps: Sequence[Step]) -> None:
    """Read the rows that these steps may touch, and open what is sealed in them."""
    met = {(step.record.workspace, step.record.subject) for step in steps}
    await customers.load(session, working, met)
    await events.load(session, working, steps)
    await seals.open_all(session, keys, working, steps)


async def write(session: Session, working: WorkingSet) -> Sequence[Output]:
    """Write what a batch changed; answers the withdrawals that its claims caused."""
    await customers.write(session, working)
    await events.write(session, working)
    await timeline.write(session, working)
    outputs = await owners.write(session, working)
    working.end_batch()
    return outputs
