"""What the ledger's topic must still say when another generation becomes live: adjusting entries.

Guarantee: whoever adds up a member's transfers has the live balances again after them.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from contracts import codec
from contracts.effects import LOYALTY_ENTRY, Account, LoyaltyEntry, Transfer
from contracts.identifiers import derived_id
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS, LOYALTY_ENTRIES
from projections.kernel import binary
from projections.kernel.differences import DIFFERENCES_MAX, MomentOf, TooManyDifferencesError
from projections.kernel.projection import Moment, Output
from services.runtime.postgres import Session

_ACCOUNTS: tuple[Account, ...] = ("available", "pending", "spent", "expired")
_HELD = 2
"""Of these accounts, the first ones are the member's."""

_DIFFERENT: LiteralString = """
SELECT workspace, uuid_send(customer), program,
    coalesce(n.available, 0) - coalesce(l.available, 0),
    coalesce(n.pending, 0) - coalesce(l.pending, 0),
    coalesce(n.spent, 0) - coalesce(l.spent, 0),
    coalesce(n.expired, 0) - coalesce(l.expired, 0)
FROM {live} l FULL JOIN {candidate} n USING (workspace, customer, program)
WHERE (coalesce(n.available, 0), coalesce(n.pending, 0), coalesce(n.spent, 0),
        coalesce(n.expired, 0))
    <> (coalesce(l.available, 0), coalesce(l.pending, 0), coalesce(l.spent, 0),
        coalesce(l.expired, 0))
ORDER BY workspace, customer, program LIMIT %s"""


async def adjusting_entries(
    session: Session, live: str, candidate: str, moment: MomentOf
) -> Sequence[Output]:
    """Tell by an entry for each member what the candidate believes besides."""
    query = sql.SQL(_DIFFERENT).format(
        live=sql.Identifier(live, "members"), candidate=sql.Identifier(candidate, "members")
    )
    rows = await (await session.execute(query, (DIFFERENCES_MAX + 1,))).fetchall()
    if len(rows) > DIFFERENCES_MAX:
        raise TooManyDifferencesError
    return [
        _entry(moment(workspace, binary.customer_id(key)), program, amounts)
        for workspace, key, program, *amounts in rows
    ]


def _entry(moment: Moment, program: str, amounts: Sequence[int]) -> Output:
    customer = moment.record.subject
    transfers = tuple(
        Transfer("issued", account, amount) if amount > 0 else Transfer(account, "issued", -amount)
        for account, amount in zip(_ACCOUNTS, amounts, strict=True)
        if amount
    )
    entry = LoyaltyEntry(
        id=derived_id("entry_", moment.record.id, program),
        program=program,
        customer=customer,
        kind="adjusted",
        points=sum(amounts[:_HELD]),
        at=moment.at,
        rule="",
        revision=0,
        caused_by=moment.record.id,
        position=str(Position(CUSTOMER_EVENTS, moment.partition, moment.offset)),
        transfers=transfers,
    )
    return Output(
        topic=LOYALTY_ENTRIES,
        type=LOYALTY_ENTRY,
        id=entry.id,
        customer=customer,
        time=moment.at,
        data=codec.raw(entry),
        cause=moment,
    )
