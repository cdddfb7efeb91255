"""The operators: which operand each takes and which values pass it.

A check is a predicate over one value; it is false for a value of a type the operator does not take,
negated operators included. Times in metadata are RFC 3339 strings with a zone; a plain date
(``2026-11-21``) stands for its first instant in UTC.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from contracts.decimals import exact_number
from contracts.durations import parse_fixed_duration
from contracts.shapes import is_array

Operator = Literal[
    "eq", "ne", "gt", "gte", "lt", "lte", "between", "in", "not_in", "contains", "not_contains",
    "starts_with", "ends_with", "exists", "before", "after", "within", "older_than",
]  # fmt: skip
Scalar = str | int | Decimal | bool
Operand = Scalar | tuple[Scalar, ...] | datetime | timedelta
Check = Callable[[object], bool]
TimedCheck = Callable[[object, datetime], bool]

CHOICES_MAX: Final = 1000  # elements of in and not_in; a definition stays readable
TEXT_CHARACTERS_MAX: Final = 2000  # of an operand; longer text is never what a rule compares with

TIME_OPERATORS: Final = frozenset({"before", "after", "within", "older_than", "exists"})

_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2}))?", re.ASCII
)
_DATE_CHARACTERS: Final = 10


def parse_operand(operator: Operator, value: object) -> Operand:
    """Read the operand of ``operator``.

    Raises:
        ValueError: not what it takes; the message completes "``<operator>`` ...".
    """
    return _OPERAND_READERS[operator](value)


def parse_time(text: object) -> datetime | None:
    """The instant that ``text`` says, in UTC; None when it says none, or none of years 1 to 9999.

    A time needs its zone. A plain date is its first instant in UTC.
    """
    if isinstance(text, datetime):
        return _in_utc(text) if text.tzinfo is not None else None
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        return None
    if len(text) == _DATE_CHARACTERS:
        text += "T00:00:00Z"
    try:
        return _in_utc(msgspec.convert(text, datetime))
    except msgspec.ValidationError:
        return None


def _in_utc(instant: datetime) -> datetime | None:
    if instant.tzinfo is UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return None


def _scalar(value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    number = exact_number(value)
    if number is None:
        raise ValueError("takes a string, a number, true or false")
    return number


def _number(value: object) -> int | Decimal:
    number = None if isinstance(value, bool) else exact_number(value)
    if number is None:
        raise ValueError("takes a number")
    return number


def _range(value: object) -> Operand:
    if not is_array(value) or len(value) != len(("a", "b")):
        raise ValueError("takes two numbers, [a, b]")
    low, high = (_number(bound) for bound in value)
    if low > high:
        raise ValueError("takes the smaller number first")
    return (low, high)


def _choices(value: object) -> Operand:
    if not is_array(value) or not 1 <= len(value) <= CHOICES_MAX:
        raise ValueError(f"takes an array of 1 to {CHOICES_MAX} strings, numbers or booleans")
    return tuple(_scalar(choice) for choice in value)


def _text(value: object) -> str:
    if isinstance(value, str) and len(value) <= TEXT_CHARACTERS_MAX:
        return value
    raise ValueError(f"takes a string of at most {TEXT_CHARACTERS_MAX} characters")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("takes true or false")


def _time(value: object) -> datetime:
    instant = parse_time(value)
    if instant is None:
        raise ValueError("takes a time with its zone, such as 2026-11-21T09:30:00Z")
    return instant


def _length(value: object) -> timedelta:
    try:
        return parse_fixed_duration(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"takes a duration such as P30D; this {error}") from error


def compile_check(operator: Operator, operand: Operand) -> Check:
    """The predicate of an operator that does not look at the clock.

    Args:
        operator: not ``exists``, ``within`` or ``older_than``.
        operand: what ``parse_operand`` answered for this operator.
    """
    match operand:
        case datetime():
            return _time_check(operator, operand)
        case tuple():
            return _choice_check(operator, operand)
        case str() | int() | Decimal():
            return _scalar_check(operator, operand)
        case timedelta():
            raise AssertionError(f"{operator} needs a clock")


def compile_timed_check(operator: Operator, length: timedelta) -> TimedCheck:
    """The predicate of ``within`` or ``older_than``, of a value and now."""

    def within(value: object, now: datetime) -> bool:
        instant = parse_time(value)
        return instant is not None and now - length < instant <= now

    def older_than(value: object, now: datetime) -> bool:
        instant = parse_time(value)
        return instant is not None and instant <= now - length

    return within if operator == "within" else older_than


def _scalar_check(operator: Operator, operand: Scalar) -> Check:
    if operator == "eq":
        return _equals(operand)
    if operator == "ne":
        return _differs(operand)
    if isinstance(operand, str):
        return _text_check(operator, operand)
    return _number_check(operator, operand)


def _choice_check(operator: Operator, choices: tuple[Scalar, ...]) -> Check:
    if operator == "in":
        return _is_one_of(choices)
    if operator == "not_in":
        return _is_none_of(choices)
    low, high = (bound for bound in choices if not isinstance(bound, str))
    return _between(low, high)


def _equals(operand: Scalar) -> Check:
    if isinstance(operand, int | Decimal) and not isinstance(operand, bool):
        return lambda value: (type(value) is int or type(value) is Decimal) and value == operand
    kind = type(operand)
    return lambda value: type(value) is kind and value == operand


def _differs(operand: Scalar) -> Check:
    if isinstance(operand, int | Decimal) and not isinstance(operand, bool):
        return lambda value: (type(value) is int or type(value) is Decimal) and value != operand
    kind = type(operand)
    return lambda value: type(value) is kind and value != operand


def _is_one_of(choices: tuple[Scalar, ...]) -> Check:
    flags = frozenset(c for c in choices if isinstance(c, bool))
    others = frozenset(c for c in choices if not isinstance(c, bool))

    def check(value: object) -> bool:
        kind = type(value)
        if kind is str or kind is int or kind is Decimal:
            return value in others
        return kind is bool and value in flags

    return check


def _is_none_of(choices: tuple[Scalar, ...]) -> Check:
    """A value passes when it is of a type that some choice has, and equals none of them."""
    flags = frozenset(c for c in choices if isinstance(c, bool))
    texts = frozenset(c for c in choices if isinstance(c, str))
    numbers = frozenset(c for c in choices if not isinstance(c, bool | str))

    def check(value: object) -> bool:
        kind = type(value)
        if kind is str:
            return bool(texts) and value not in texts
        if kind is int or kind is Decimal:
            return bool(numbers) and value not in numbers
        return kind is bool and bool(flags) and value not in flags

    return check


def _between(low: int | Decimal, high: int | Decimal) -> Check:
    return lambda value: (type(value) is int or type(value) is Decimal) and low <= value <= high


def _number_check(operator: Operator, operand: int | Decimal) -> Check:
    match operator:
        case "gt":
            return lambda v: (type(v) is int or type(v) is Decimal) and v > operand
        case "gte":
            return lambda v: (type(v) is int or type(v) is Decimal) and v >= operand
        case "lt":
            return lambda v: (type(v) is int or type(v) is Decimal) and v < operand
        case "lte":
            return lambda v: (type(v) is int or type(v) is Decimal) and v <= operand
        case _:
            raise AssertionError(f"{operator} takes no number")


def _text_check(operator: Operator, operand: str) -> Check:
    match operator:
        case "contains":
            return lambda value: isinstance(value, str) and operand in value
        case "not_contains":
            return lambda value: isinstance(value, str) and operand not in value
        case "starts_with":
            return lambda value: isinstance(value, str) and value.startswith(operand)
        case "ends_with":
            return lambda value: isinstance(value, str) and value.endswith(operand)
        case _:
            raise AssertionError(f"{operator} takes no text")


def _time_check(operator: Operator, operand: datetime) -> Check:

    def before(value: object) -> bool:
        instant = parse_time(value)
        return instant is not None and instant < operand

    def after(value: object) -> bool:
        instant = parse_time(value)
        return instant is not None and instant > operand

    return before if operator == "before" else after


_OPERAND_READERS: Final[Mapping[Operator, Callable[[object], Operand]]] = {
    "eq": _scalar,
    "ne": _scalar,
    "gt": _number,
    "gte": _number,
    "lt": _number,
    "lte": _number,
    "between": _range,
    "in": _choices,
    "not_in": _choices,
    "contains": _text,
    "not_contains": _text,
    "starts_with": _text,
    "ends_with": _text,
    "exists": _flag,
    "before": _time,
    "after": _time,
    "within": _length,
    "older_than": _length,
}
OPERATORS: Final[Mapping[str, Operator]] = {name: name for name in _OPERAND_READERS}
