"""Goals of events: which need a value, and which values there are."""

from decimal import Decimal
from typing import Final

from msgspec import UNSET

from contracts.decimals import is_number
from contracts.errors import Fault
from services.gateway.bounds import GOAL_DIGITS_MAX, GOAL_PLACES_MAX
from services.gateway.strict_json import EXACT

NEED_VALUE: Final = frozenset({"purchase", "subscription"})

_VALUE: Final = "/goal_value"


def goal_value_of(value: object) -> Decimal | None:
    """The value of a goal without trailing zeros or exponent; None where it is none.

    At most 15 digits and 4 places count after dropping trailing zeros: 1e3 is 1000. Text is none.
    """
    if not is_number(value):
        return None
    number = Decimal(value)
    if not number:
        return Decimal(0)  # whatever its exponent
    if number.adjusted() >= GOAL_DIGITS_MAX:
        return None
    number = number.normalize(EXACT)
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int), "numbers of JSON are finite"
    if exponent > 0:
        number = number.quantize(Decimal(1))
    places = max(0, -exponent)
    if places > GOAL_PLACES_MAX or len(digits) + max(exponent, 0) > GOAL_DIGITS_MAX:
        return None
    return number


def goal_faults(goal_type: object, value: object) -> tuple[Fault, ...]:
    """What is wrong with a goal's value, given its type (None or UNSET: no goal)."""
    if value is UNSET or value is None:
        if isinstance(goal_type, str) and goal_type in NEED_VALUE:
            detail = f"is required by a goal of type {goal_type}"
            return (Fault(pointer=_VALUE, code="required", detail=detail),)
        return ()
    if not is_number(value):
        return (Fault(pointer=_VALUE, code="type", detail="is not a number"),)
    if goal_value_of(value) is None:
        detail = f"has more than {GOAL_DIGITS_MAX} digits or {GOAL_PLACES_MAX} places"
        return (Fault(pointer=_VALUE, code="range", detail=detail),)
    return ()
