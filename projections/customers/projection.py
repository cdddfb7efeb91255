"""The customers projection as the kernel runs it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import LiteralString

import msgspec

from projections.customers import model, store
from projections.customers.model import WorkingSet
from projections.kernel.projection import Late, Output, Step, TakeOver
from services.runtime.postgres import Session
from services.runtime.sealing import KeyRing, MasterKey

_LAWS: tuple[tuple[str, LiteralString], ...] = (
    (
        "events that do not stand as the kernel's facts say: {}",
        """
        SELECT count(*) FROM facts f LEFT JOIN events e USING (workspace, customer, fact)
        WHERE e.version IS DISTINCT FROM f.ordinal OR e.withdrawn IS DISTINCT FROM f.withdrawn
            OR e.occurred_at IS DISTINCT FROM f.occurred_at
            OR e.deleted_at IS DISTINCT FROM f.deleted_at
            OR e.record_offset IS DISTINCT FROM f.record_offset""",
    ),
    (
        "facts whose owner has no event of them: {}",
        """
        SELECT count(*) FROM fact_owners o LEFT JOIN events e USING (workspace, customer, fact)
        WHERE e.fact IS NULL OR (e.partition = o.partition AND e.record_offset < o.record_offset
            AND NOT EXISTS (
                SELECT FROM events d JOIN closed c USING (workspace, customer)
                WHERE d.workspace = o.workspace AND d.fact = o.fact))""",
    ),
    (
        "facts that can stand at several customers and have no owner: {}",
        """
        SELECT count(*) FROM facts f LEFT JOIN fact_owners o USING (workspace, fact)
        WHERE o.fact IS NULL""",
    ),
    (
        "timeline entries without their customer: {}",
        """
        SELECT count(*) FROM timeline t LEFT JOIN customers c USING (workspace, customer)
        WHERE c.customer IS NULL""",
    ),
    (
        "customers whose timeline does not begin with their creation: {}",
        """
        SELECT count(*) FROM customers c LEFT JOIN LATERAL (
            SELECT kind, recorded_at FROM timeline t
            WHERE t.workspace = c.workspace AND t.customer = c.customer AND origins IS NULL
            ORDER BY record_offset, number LIMIT 1) AS first ON true
        WHERE NOT EXISTS (
            SELECT FROM closed d WHERE d.workspace = c.workspace AND d.customer = c.customer
                AND d.taken_by IS NOT NULL)
            AND (first.kind IS DISTINCT FROM 'customer.created'
            OR first.recorded_at IS DISTINCT FROM c.created_at)""",
    ),
    (
        "events whose last version is not on the timeline: {}",
        """
        SELECT count(*) FROM events e WHERE NOT EXISTS (
            SELECT 1 FROM timeline t
            WHERE t.workspace = e.workspace AND t.customer = e.customer
                AND t.partition = e.partition AND t.record_offset = e.record_offset
                AND t.kind = 'custom_event.' || e.event)
            AND NOT EXISTS (
                SELECT FROM closed c WHERE c.workspace = e.workspace AND c.customer = e.customer
                    AND c.taken_by IS NOT NULL)""",
    ),
)


class Customers:
    """Profiles, timelines, events by id; withdraws a fact from customers who no longer hold it."""

    name = "customers"
    version = model.MODEL_VERSION
    migrations = Path(__file__).parent / "migrations"
    keeps_content = False

    def __init__(self, master: MasterKey) -> None:
        self._keys = KeyRing(master)

    def working_set(self) -> WorkingSet:
        """Make an empty working set."""
        return WorkingSet()

    async def load(self, session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
        """Read the rows that these steps may touch, and open what is sealed."""
        await store.load(session, self._keys, working, steps)

    def apply(self, working: WorkingSet, step: Step) -> Iterable[Output]:
        """Fold one step; what it puts out only the rows can tell."""
        model.apply(working, step)
        return ()

    async def write(self, session: Session, working: WorkingSet, *, live: bool) -> Sequence[Output]:
        """Write what changed; answers the withdrawals that follow."""
        del live  # withdrawals of a generation that is not live are read from the log
        return await store.write(session, working)

    async def take_over(self, session: Session, taking: TakeOver) -> Sequence[Output]:
        """Hand events and timeline of a merged customer to the survivor, whose profile gains."""
        return await store.take_over(session, taking)

    async def seal_anew(self, session: Session, late: Sequence[Late]) -> Sequence[msgspec.Raw]:
        """Seal what was told late of a merged customer for the survivor."""
        return await store.seal_anew(session, self._keys, late)

    async def verify(self, session: Session) -> list[str]:
        """Check the read model against itself and the kernel's facts."""
        broken: list[str] = []
        for sentence, query in _LAWS:
            row = await (await session.execute(query)).fetchone()
            assert row is not None, "a count answers one row"
            if row[0]:
                broken.append(sentence.format(row[0]))
        return broken
