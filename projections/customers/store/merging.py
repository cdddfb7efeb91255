"""Rows that go over when a customer is merged into another one.

Guarantee: events and lines of the timeline bear where they came from. The merged customer's profile
stays as it was, for whom its id was merged into is known by the kernel.
"""

from typing import LiteralString

from projections.customers import model
from projections.customers.model import WorkingSet
from projections.customers.store import customers, timeline
from projections.kernel import exchange, rows
from projections.kernel.projection import TakeOver
from services.runtime.postgres import Session

# Whoever settles a claim of one of these facts holds its row; they are locked in the same order.
_TAKE_OWNED: LiteralString = """
WITH owned AS (
    SELECT o.workspace, o.fact FROM events e JOIN fact_owners o USING (workspace, fact)
    WHERE e.workspace = %(workspace)s AND e.customer = %(giver)s AND o.customer = %(giver)s
    ORDER BY o.workspace, o.fact FOR UPDATE OF o)
UPDATE fact_owners o SET customer = %(taker)s FROM owned
WHERE o.workspace = owned.workspace AND o.fact = owned.fact"""
_TAKE_TIMELINE: LiteralString = """
UPDATE timeline SET customer = %(taker)s, origins = array_append(origins, customer)
WHERE workspace = %(workspace)s AND customer = %(giver)s"""


async def take_over(session: Session, taking: TakeOver) -> None:
    """Hand over what the merged customer had, inside the kernel's transaction."""
    workspace, giver, taker = taking.record.workspace, taking.merged, taking.record.subject
    parameters = {
        "workspace": workspace,
        "giver": rows.customer_uuid(giver),
        "taker": rows.customer_uuid(taker),
    }
    await session.execute(_TAKE_OWNED, parameters)
    await exchange.take(session, "events", workspace=workspace, giver=giver, taker=taker)
    await session.execute(_TAKE_TIMELINE, parameters)
    working = WorkingSet()
    await customers.load(session, working, {(workspace, giver), (workspace, taker)})
    model.take_over(working, taking)
    await customers.write(session, working)
    await timeline.write(session, working)
