"""What a merged customer had in the ledger goes to the survivor.

Guarantee: points are conserved. What a fact told of both had caused at the merged one is reversed
there first; then entries, lots and outcomes go over with where they came from, balances add up
program by program, and what one of the two owed is filled from the other's lots.
"""

from collections.abc import Sequence
from typing import LiteralString

import msgspec

from contracts.events import EventWithdrawn
from contracts.profiles import ProfileState, fill
from projections.kernel import rows
from projections.kernel.projection import Doubled, Output, Step, TakeOver
from projections.loyalty import ledger, model, store
from projections.loyalty.ledger import Balance
from projections.loyalty.model import Profile, WorkingSet, balance_of
from services.runtime.postgres import Session

_TAKE_ENTRIES: LiteralString = """
UPDATE entries SET customer = %(taker)s, origins = array_append(origins, customer)
WHERE workspace = %(workspace)s AND customer = %(giver)s"""
_TAKE_LOTS: LiteralString = """
UPDATE lots SET customer = %(taker)s, origins = array_append(origins, customer)
WHERE workspace = %(workspace)s AND customer = %(giver)s"""
# One key may have been decided for both: the survivor's decision stands.
_TAKE_OUTCOMES: LiteralString = """
UPDATE outcomes o SET customer = %(taker)s, origins = array_append(o.origins, o.customer)
WHERE o.workspace = %(workspace)s AND o.customer = %(giver)s AND NOT EXISTS (
    SELECT FROM outcomes t WHERE t.workspace = o.workspace AND t.customer = %(taker)s
        AND t.request = o.request)"""
_END_MEMBERS: LiteralString = """
DELETE FROM members WHERE workspace = %(workspace)s AND customer = %(giver)s"""


async def take_over(session: Session, taking: TakeOver) -> Sequence[Output]:
    """Hand over what the merged customer had, inside the kernel's transaction."""
    outputs = await _take_back(session, taking)
    parameters = {
        "workspace": taking.record.workspace,
        "giver": rows.customer_uuid(taking.merged),
        "taker": rows.customer_uuid(taking.record.subject),
    }
    for statement in (_TAKE_ENTRIES, _TAKE_LOTS, _TAKE_OUTCOMES):
        await session.execute(statement, parameters)
    await _join(session, taking)
    await session.execute(_END_MEMBERS, parameters)
    return outputs


async def _take_back(session: Session, taking: TakeOver) -> Sequence[Output]:
    if not taking.doubled:
        return ()
    working = WorkingSet()
    steps = [_step(taking, each) for each in taking.doubled]
    await store.load(session, working, steps)
    outputs = model.take_back(working, steps)
    await store.write(session, working)
    return outputs


def _step(taking: TakeOver, doubled: Doubled) -> Step:
    """A step that takes a fact from the merged customer, since the survivor holds it."""
    change, survivor = doubled.change, taking.record.subject
    return Step(
        partition=taking.partition,
        offset=taking.offset,
        at=taking.at,
        time=taking.at,
        record=msgspec.structs.replace(taking.record, subject=taking.merged),
        snapshot=taking.snapshot,
        data=EventWithdrawn(event_id=change.event_id, last_offset=taking.offset, held_by=survivor),
        change=change,
        judged=doubled.judged,
    )


async def _join(session: Session, taking: TakeOver) -> None:
    workspace, giver, taker = taking.record.workspace, taking.merged, taking.record.subject
    working = WorkingSet()
    await store.load_customers(session, working, {(workspace, giver), (workspace, taker)})
    others = {
        program: balance
        for (_, customer, program), balance in working.balances.items()
        if customer == giver
    }
    for program, other in others.items():
        mine = working.balances.get((workspace, taker, program), Balance())
        if min(other.available, mine.available) < 0:
            working.needs_lots.add((workspace, taker, program))
    if working.needs_lots:
        await store.load_lots(session, working)
    for program, other in others.items():
        member = (workspace, taker, program)
        ledger.join(balance_of(working, member), working.lots.get(member, {}), other)
    _fill_profile(working, taking)
    await store.write(session, working)


def _fill_profile(working: WorkingSet, taking: TakeOver) -> None:
    key = (taking.record.workspace, taking.record.subject)
    known = working.profiles.setdefault(key, Profile(created_at=taking.at, metadata={}))
    other = working.profiles.get((taking.record.workspace, taking.merged))
    given = {} if other is None else other.metadata
    filled, _ = fill(ProfileState(metadata=known.metadata), ProfileState(metadata=given))
    known.metadata = filled.metadata
    working.changed_profiles.add(key)
