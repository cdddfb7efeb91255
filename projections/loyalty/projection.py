"""The loyalty projection as the kernel runs it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import LiteralString

from contracts.requests import Request
from projections.kernel.differences import MomentOf
from projections.kernel.projection import Output, Step, TakeOver
from projections.loyalty import merging, model, requests, store
from projections.loyalty.differences import adjusting_entries
from projections.loyalty.model import WorkingSet
from services.runtime.postgres import Session

_LAWS: tuple[tuple[str, LiteralString], ...] = (
    (
        "balances that differ from the transfers of their entries: {}",
        """
        WITH posted AS (
            SELECT workspace, customer, program,
                sum(CASE WHEN t ->> 1 = 'available' THEN (t ->> 2)::bigint ELSE 0 END)
                - sum(CASE WHEN t ->> 0 = 'available' THEN (t ->> 2)::bigint ELSE 0 END)
                AS available
            FROM entries LEFT JOIN LATERAL jsonb_array_elements(transfers::jsonb) AS t ON true
            GROUP BY workspace, customer, program)
        SELECT count(*) FROM members m FULL JOIN posted p USING (workspace, customer, program)
        WHERE m.available IS DISTINCT FROM coalesce(p.available, 0)""",
    ),
    (
        "balances above zero that differ from what is left of their lots: {}",
        """
        WITH held AS (
            SELECT workspace, customer, program, sum(remaining) AS remaining FROM lots
            GROUP BY workspace, customer, program)
        SELECT count(*) FROM members m LEFT JOIN held h USING (workspace, customer, program)
        WHERE greatest(m.available, 0) <> coalesce(h.remaining, 0)""",
    ),
    (
        "entries whose points are not the sum of their transfers: {}",
        """
        SELECT count(*) FROM entries e
        WHERE e.points <> (
            SELECT coalesce(sum(CASE WHEN t ->> 1 = 'available' THEN (t ->> 2)::bigint
                ELSE -(t ->> 2)::bigint END), 0)
            FROM jsonb_array_elements(e.transfers::jsonb) AS t)""",
    ),
    (
        "entries reversed more than once: {}",
        """
        SELECT count(*) FROM (
            SELECT 1 FROM entries WHERE reverses IS NOT NULL
            GROUP BY workspace, customer, reverses HAVING count(*) > 1) AS twice""",
    ),
    (
        "programs where issued is not held, spent and expired: {}",
        """
        SELECT count(*) FROM (
            SELECT 1 FROM members GROUP BY workspace, program
            HAVING sum(earned + adjusted - reversed)
                <> sum(available + pending + spent + expired)) AS broken""",
    ),
)


class Loyalty:
    """Programs, rules and the ledger of points."""

    name = "loyalty"
    version = model.MODEL_VERSION
    migrations = Path(__file__).parent / "migrations"
    keeps_content = False

    def working_set(self) -> WorkingSet:
        """Make an empty working set."""
        return WorkingSet()

    async def load(self, session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
        """Read the rows that these steps may touch."""
        await store.load(session, working, steps)

    def apply(self, working: WorkingSet, step: Step) -> Iterable[Output]:
        """Fold one step."""
        if isinstance(step.data, Request):
            return requests.decide(working, step, step.data)
        return model.apply(working, step)

    async def write(self, session: Session, working: WorkingSet, *, live: bool) -> Sequence[Output]:
        """Write what changed; the model knows every output beforehand."""
        del live  # the rows are the same in every generation
        await store.write(session, working)
        return ()

    async def differences(
        self, session: Session, live: str, candidate: str, moment: MomentOf
    ) -> Sequence[Output]:
        """Tell balances that differ, by adjusting entries."""
        return await adjusting_entries(session, live, candidate, moment)

    async def take_over(self, session: Session, taking: TakeOver) -> Sequence[Output]:
        """Hand the points of a merged customer to the survivor."""
        return await merging.take_over(session, taking)

    async def verify(self, session: Session) -> list[str]:
        """Check the ledger against itself."""
        broken: list[str] = []
        for sentence, query in _LAWS:
            row = await (await session.execute(query)).fetchone()
            assert row is not None, "a count answers one row"
            if row[0]:
                broken.append(sentence.format(row[0]))
        return broken
