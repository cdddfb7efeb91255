"""What a condition means for given facts: compiled closures, and why one did not hold.

Evaluation is a function of the facts alone; ``now`` is one of them.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from msgspec import Struct

from contracts.codec import Json
from contracts.conditions.operators import compile_check, compile_timed_check
from contracts.conditions.paths import Path, Value, compile_steps, values_of
from contracts.conditions.syntax import AllOf, AnyOf, Comparison, Condition, Not
from contracts.decimals import add_exactly, is_number

NO_METADATA: Final[Mapping[str, Json]] = {}


class CustomerFacts(Struct, kw_only=True):
    """The profile as a rule sees it; sealed fields are None where they are not known."""

    metadata: Mapping[str, Json] = NO_METADATA
    email: str | None = None
    name: str | None = None
    source_id: str | None = None
    phone: str | None = None
    created_at: datetime | None = None


class EventFacts(Struct, kw_only=True):
    """The triggering event as a rule sees it.

    Numbers in ``metadata`` are ``int`` or ``Decimal``; ``occurred_at`` is aware.
    """

    metadata: Mapping[str, Json] = NO_METADATA
    goal_value: int | Decimal | None = None
    goal_type: str | None = None
    occurred_at: datetime | None = None
    referral_code: str | None = None


class Facts(Struct, kw_only=True):
    """Everything that a condition may look at. ``now`` is aware."""

    customer: CustomerFacts
    now: datetime
    event: EventFacts | None = None


Predicate = Callable[[Facts], bool]
Lookup = Callable[[Facts], Value]


class FirstFailure(Struct, frozen=True, kw_only=True):
    """The first condition, in document order, because of which the whole does not hold.

    ``seen`` holds the values that its path yielded, none when it names a group.
    """

    pointer: str
    seen: tuple[Value, ...]
    detail: str


def compile_condition(condition: Condition) -> Predicate:
    """A predicate over facts; it raises nothing for any facts."""
    match condition:
        case Comparison():
            return _compile_test(condition)
        case Not(child=child):
            return _negation(compile_condition(child))
        case AllOf(children=children):
            return _conjunction(tuple(compile_condition(child) for child in children))
        case AnyOf(children=children):
            return _disjunction(tuple(compile_condition(child) for child in children))


def ALWAYS(_facts: Facts) -> bool:  # noqa: N802 - a constant that happens to be a predicate
    """The predicate of a rule without a condition."""
    return True


def explain(condition: Condition, facts: Facts) -> FirstFailure | None:
    """The first condition that failed; None when the whole holds.

    Of ``any`` the first child is named, of ``not`` the child that held.
    """
    if compile_condition(condition)(facts):
        return None
    match condition:
        case Comparison():
            return _failure(condition, facts, "does not hold")
        case Not(child=Comparison() as child):
            return _failure(child, facts, "holds, but must not")
        case Not(child=child):
            return FirstFailure(pointer=child.pointer, seen=(), detail="holds, but must not")
        case AllOf(children=children) | AnyOf(children=children):
            found = (explain(child, facts) for child in children)
            first = next((failure for failure in found if failure is not None), None)
            nothing = FirstFailure(pointer=condition.pointer, seen=(), detail="any of nothing")
            return first or nothing


def compile_lookup(path: Path) -> Lookup:
    """What stands at a path: one value, a list of values, or None for none."""
    if path.field == "metadata":
        return _metadata_lookup(path)
    return _FIELDS[path.subject, path.text]


def compile_sum(path: Path) -> Callable[[Facts], int | Decimal | None]:
    """The exact sum of the numbers at a path; None when there is none."""
    lookup = compile_lookup(path)

    def total(facts: Facts) -> int | Decimal | None:
        found = lookup(facts)
        if is_number(found):
            return found
        if not isinstance(found, list):
            return None
        numbers = [value for value in found if is_number(value)]
        return add_exactly(numbers) if numbers else None

    return total


def _customer_metadata(facts: Facts) -> Mapping[str, Json]:
    return facts.customer.metadata


def _event_metadata(facts: Facts) -> Mapping[str, Json]:
    event = facts.event
    return NO_METADATA if event is None else event.metadata


def _metadata_lookup(path: Path) -> Lookup:
    """The path of one key, which most rules use, saves a call."""
    read, is_event = compile_steps(path.steps), path.subject == "event"
    first, *others = path.steps
    if others or first.each:
        metadata = _event_metadata if is_event else _customer_metadata
        return lambda facts: read(metadata(facts))
    key = first.key
    if not is_event:
        return lambda facts: facts.customer.metadata.get(key)
    return lambda facts: None if facts.event is None else facts.event.metadata.get(key)


_FIELDS: Final[Mapping[tuple[str, str], Lookup]] = {
    ("customer", "email"): lambda facts: facts.customer.email,
    ("customer", "name"): lambda facts: facts.customer.name,
    ("customer", "source_id"): lambda facts: facts.customer.source_id,
    ("customer", "phone"): lambda facts: facts.customer.phone,
    ("customer", "created_at"): lambda facts: facts.customer.created_at,
    ("event", "goal_value"): lambda facts: facts.event and facts.event.goal_value,
    ("event", "goal_type"): lambda facts: facts.event and facts.event.goal_type,
    ("event", "occurred_at"): lambda facts: facts.event and facts.event.occurred_at,
    ("event", "referral.code"): lambda facts: facts.event and facts.event.referral_code,
}


def _compile_test(test: Comparison) -> Predicate:
    lookup = compile_lookup(test.path)
    if test.operator == "exists":
        wanted = bool(test.operand)
        return lambda facts: bool(values_of(lookup(facts))) is wanted
    if isinstance(test.operand, timedelta):
        timed = compile_timed_check(test.operator, test.operand)
        return lambda facts: any(timed(value, facts.now) for value in values_of(lookup(facts)))
    check = compile_check(test.operator, test.operand)

    def holds(facts: Facts) -> bool:
        found = lookup(facts)
        if isinstance(found, list):
            return any(map(check, found))
        return check(found)

    return holds


def _negation(predicate: Predicate) -> Predicate:
    return lambda facts: not predicate(facts)


def _conjunction(predicates: tuple[Predicate, ...]) -> Predicate:
    def holds(facts: Facts) -> bool:
        for predicate in predicates:  # noqa: SIM110 - a generator costs three times as much
            if not predicate(facts):
                return False
        return True

    return holds


def _disjunction(predicates: tuple[Predicate, ...]) -> Predicate:
    def holds(facts: Facts) -> bool:
        for predicate in predicates:  # noqa: SIM110 - a generator costs three times as much
            if predicate(facts):
                return True
        return False

    return holds


def _failure(test: Comparison, facts: Facts, verdict: str) -> FirstFailure:
    seen = tuple(values_of(compile_lookup(test.path)(facts)))
    detail = f"{test.path.subject} {test.path.text} {test.operator} {verdict}"
    return FirstFailure(pointer=test.pointer, seen=seen, detail=detail)
