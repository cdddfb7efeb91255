"""Sums of ``metadata.amount`` by customer: model, store and wiring of the smallest projection."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import Struct
from typing import LiteralString

import msgspec

from contracts.events import CustomEvent
from projections.kernel import binary
from projections.kernel.projection import Output, Step
from projections.kernel.tables import Table
from services.runtime.postgres import Session

Customer = tuple[str, str]

_LOAD: LiteralString = """
SELECT s.workspace, uuid_send(s.customer), s.amount
FROM unnest(%s, %s) AS k (workspace, customer)
JOIN sums s USING (workspace, customer)"""
_SUMS = Table("sums", "customer uuid, amount bigint, workspace text")
_UPDATE: LiteralString = """
UPDATE sums s SET amount = n.amount FROM unnest(%s, %s, %s) AS n (workspace, customer, amount)
WHERE s.workspace = n.workspace AND s.customer = n.customer"""

_row = Struct(">hi16siq").pack


class Purchase(msgspec.Struct, frozen=True, gc=False):
    """What is summed of an event's metadata."""

    amount: int


_decode = msgspec.json.Decoder(Purchase).decode


class Sums:
    """One partition's sums in memory."""

    def __init__(self) -> None:
        self.amounts: dict[Customer, int] = {}
        self.stored: set[Customer] = set()
        self.changed: set[Customer] = set()


class SumsProjection:
    """Sums by customer in Postgres, effects once."""

    name = "sums"
    version = 1
    migrations = Path(__file__).parent / "migrations"
    keeps_content = False

    def working_set(self) -> Sums:
        """Make an empty working set."""
        return Sums()

    async def load(self, session: Session, working: Sums, steps: Sequence[Step]) -> None:
        """Read the sums of customers not met before."""
        met = {(step.record.workspace, step.record.subject) for step in steps}
        unknown = [each for each in met if each not in working.amounts]
        if not unknown:
            return
        for workspace, key, amount in await (
            await session.execute(_LOAD, _keys(unknown))
        ).fetchall():
            customer = (workspace, binary.customer_id(key))
            working.amounts[customer] = amount
            working.stored.add(customer)

    def apply(self, working: Sums, step: Step) -> Iterable[Output]:
        """Add one amount."""
        if isinstance(step.data, CustomEvent):
            customer = (step.record.workspace, step.record.subject)
            amount = _decode(step.data.metadata).amount
            working.amounts[customer] = working.amounts.get(customer, 0) + amount
            working.changed.add(customer)
        return ()

    async def write(self, session: Session, working: Sums, *, live: bool) -> Sequence[Output]:
        """Write the sums that changed."""
        del live
        fresh = working.changed - working.stored
        await _SUMS.add(session, [_spell(each, working.amounts[each]) for each in fresh])
        known = list(working.changed - fresh)
        if known:
            amounts = binary.bigints(working.amounts[each] for each in known)
            await session.execute(_UPDATE, (*_keys(known), amounts))
        working.stored |= fresh
        working.changed.clear()
        return ()

    async def verify(self, session: Session) -> list[str]:
        """There is nothing beside the sums to check them against."""
        del session
        return []


def _spell(customer: Customer, amount: int) -> bytes:
    key = binary.customer_key(customer[1])
    return _row(3, 16, key, 8, amount) + binary.name(customer[0])


def _keys(customers: Sequence[Customer]) -> tuple[binary.TextArray, binary.UuidArray]:
    return (
        binary.texts([workspace for workspace, _ in customers]),
        binary.uuids([binary.customer_key(customer) for _, customer in customers]),
    )
