"""Rows that go over when a customer is merged into another one.

Guarantee: events and lines of the timeline bear where they came from. The merged customer's profile
stays as it was, for whom its id was merged into is known by the kernel.
"""

from collections.abc import Sequence
from typing import LiteralString

from contracts.identifiers import FactKey
from projections.customers import model
from projections.customers.model import Withdrawal, WorkingSet
from projections.customers.store import customers, owners, timeline
from projections.kernel import binary, exchange, rows
from projections.kernel.projection import Output, TakeOver
from services.runtime.postgres import Session

# Whoever settles a claim of one of these facts holds its row; they are locked in the same order.
_TAKE_OWNED: LiteralString = """
WITH owned AS (
    SELECT o.workspace, o.fact FROM events e JOIN fact_owners o USING (workspace, fact)
    WHERE e.workspace = %(workspace)s AND e.customer = %(giver)s AND o.customer = %(giver)s
    ORDER BY o.workspace, o.fact FOR UPDATE OF o)
UPDATE fact_owners o SET customer = %(taker)s FROM owned
WHERE o.workspace = owned.workspace AND o.fact = owned.fact"""
# Where both have a fact: the survivor's own version stands in the place of the greater claim.
_DOUBLED: LiteralString = """
SELECT uuid_send(t.fact), uuid_send(o.customer), t.partition, t.record_offset
FROM events g JOIN events t ON t.workspace = g.workspace AND t.fact = g.fact
JOIN fact_owners o ON o.workspace = g.workspace AND o.fact = g.fact
WHERE g.workspace = %(workspace)s AND g.customer = %(giver)s AND t.customer = %(taker)s
    AND NOT g.withdrawn AND NOT t.withdrawn
ORDER BY t.fact FOR UPDATE OF o"""
_STANDS: LiteralString = """
UPDATE fact_owners SET stands_partition = %s, stands_offset = %s
WHERE workspace = %s AND fact = %s::uuid"""
_TAKE_TIMELINE: LiteralString = """
UPDATE timeline SET customer = %(taker)s, origins = array_append(origins, customer)
WHERE workspace = %(workspace)s AND customer = %(giver)s"""


async def take_over(session: Session, taking: TakeOver) -> Sequence[Output]:
    """Hand over what the merged customer had, inside the kernel's transaction.

    Answers the withdrawals of facts that both had and somebody else holds: the survivor lost its
    version to the merged one's, which lost to a third.
    """
    workspace, giver, taker = taking.record.workspace, taking.merged, taking.record.subject
    parameters = {
        "workspace": workspace,
        "giver": rows.customer_uuid(giver),
        "taker": rows.customer_uuid(taker),
    }
    lost: list[Output] = []
    found = await (await session.execute(_DOUBLED, parameters)).fetchall()
    for fact, owner, partition, offset in found:
        holder = binary.customer_id(owner)
        if holder == giver:
            await session.execute(_STANDS, (partition, offset, workspace, fact.hex()))
        elif holder != taker:
            withdrawal = Withdrawal(
                key=FactKey(fact),
                customer=taker,
                last_partition=partition,
                last_offset=offset,
                held_by=holder,
                cause=taking,
            )
            lost.append(owners.output_of(withdrawal))
    await session.execute(_TAKE_OWNED, parameters)
    await exchange.take(session, "events", workspace=workspace, giver=giver, taker=taker)
    await session.execute(_TAKE_TIMELINE, parameters)
    working = WorkingSet()
    await customers.load(session, working, {(workspace, giver), (workspace, taker)})
    model.take_over(working, taking)
    await customers.write(session, working)
    await timeline.write(session, working)
    return lost
