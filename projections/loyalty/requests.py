"""Deciding requests at their place in the log. Pure.

Guarantee: a request is decided once, however often it stands in the log; a refused one changes
nothing but its outcome. It is judged by the definitions in force at its place.
"""

from collections.abc import Iterable

from contracts.definitions.loyalty_programs import LoyaltyProgram
from contracts.identifiers import FactKey, derive
from contracts.requests import AdjustRequested, JoinRequested, Request, key_of_request_id
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Output, Step
from projections.loyalty import ledger
from projections.loyalty.entries import Entry, Member, public_entry, transfers_of
from projections.loyalty.ledger import Balance, Drawn, Lot
from projections.loyalty.model import WorkingSet, balance_of, keep_lot, order_of, output_of
from projections.loyalty.outcomes import Answer, Granted, Joined, Outcome, Refused, RequestPlace

BY_NO_RULE = ""
"""The rule of an entry that a request caused."""

_MEMBERS_ONLY = Refused("not-a-member", "The customer has not joined the program.")
_BELOW_ZERO = Refused("negative-balance", "The member has fewer points than that.")
_BEYOND = Refused(
    "points-limit", f"A member's adjustments add up to {ledger.POINTS_MAX} points at most."
)


def place_of(step: Step) -> RequestPlace:
    """Name the request that a step's record is.

    Raises:
        InvalidRecordError: the record's id is no request's.
    """
    try:
        key = key_of_request_id(step.record.id)
    except ValueError as error:
        raise InvalidRecordError("not a request's id", "another form") from error
    return step.record.workspace, step.record.subject, key


def may_take(step: Step) -> Member | None:
    """Name the member whose lots a request may take from."""
    if isinstance(step.data, AdjustRequested) and step.data.points < 0:
        return step.record.workspace, step.record.subject, step.data.program
    return None


def decide(working: WorkingSet, step: Step, request: Request) -> Iterable[Output]:
    """Decide a request that was not decided before; answers what it puts out."""
    place = place_of(step)
    if place in working.outcomes:
        return ()
    answer, outputs = _answer(working, step, request)
    outcome = Outcome(
        request=place,
        program=request.program,
        digest=request.digest,
        answer=answer,
        partition=step.partition,
        offset=step.offset,
    )
    working.outcomes[place] = outcome
    working.new_outcomes.append(outcome)
    return outputs


def _answer(working: WorkingSet, step: Step, request: Request) -> tuple[Answer, Iterable[Output]]:
    program = step.snapshot.loyalty_programs.get(request.program)
    if program is None:
        return Refused("program-unknown", f"There is no program {request.program}."), ()
    match request:
        case JoinRequested():
            return _join(working, step, program), ()
        case AdjustRequested():
            return _adjust(working, step, program, request)


def _join(working: WorkingSet, step: Step, program: LoyaltyProgram) -> Joined:
    """Make the customer a member; under ``automatic`` everybody is one already."""
    member = (step.record.workspace, step.record.subject, program.name)
    balance = working.balances.get(member) or Balance()
    if program.join == "explicit" and member not in working.balances:
        balance = balance_of(working, member)
    return Joined(
        available=balance.available,
        pending=balance.pending,
        spent=balance.spent,
        expired=balance.expired,
    )


def _adjust(
    working: WorkingSet, step: Step, program: LoyaltyProgram, request: AdjustRequested
) -> tuple[Answer, Iterable[Output]]:
    member = (step.record.workspace, step.record.subject, program.name)
    standing = working.balances.get(member)
    if standing is None and program.join == "explicit":
        return _MEMBERS_ONLY, ()
    before = standing or Balance()
    is_owed = request.points < 0 and before.available + request.points < 0
    if is_owed and program.negative_balance == "refuse":
        return _BELOW_ZERO, ()
    if abs(before.adjusted + request.points) > ledger.POINTS_MAX:
        return _BEYOND, ()
    entry = _post(working, step, member, request.points)
    return Granted(public_entry(entry)), (output_of(step, entry),)


def _post(working: WorkingSet, step: Step, member: Member, points: int) -> Entry:
    _, customer, key = place_of(step)
    identity = derive("adjusted", customer, key.hex())
    balance = balance_of(working, member)
    drawn: Drawn = ()
    if points > 0:
        lot = Lot(id=identity, granted=points, remaining=points, order=order_of(step, 0))
        ledger.adjust_up(balance, lot)
        keep_lot(working, member, lot)
    else:
        drawn = ledger.adjust_down(balance, working.lots.setdefault(member, {}), -points)
    entry = Entry(
        id=identity,
        member=member,
        kind="adjusted",
        points=points,
        shortfall=0,
        at=step.at,
        rule=BY_NO_RULE,
        revision=step.snapshot.revision,
        fact=FactKey(key),
        reverses=None,
        partition=step.partition,
        offset=step.offset,
        place=0,
        transfers=transfers_of(points),
        drawn=drawn,
    )
    working.new_entries.append(entry)
    return entry
