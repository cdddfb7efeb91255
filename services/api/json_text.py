"""JSON as a person or a program wrote it: read strictly, numbers exact, every fault with its place.

Guarantee: whatever the bytes are, reading them ends in a value or in ``RefusedError``. Refused are
invalid UTF-8, duplicate keys, NaN and infinities, numbers beyond 34 digits or 1e308, U+0000 and
lone surrogates in any string or key, and nesting deeper than ``DEPTH_MAX``.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Final, TypeGuard

from contracts.codec import Json, JsonObject
from contracts.decimals import DIGITS_MAX, EXPONENT_MAX
from contracts.errors import RefusedError, pointer_to, refuse

DEPTH_MAX: Final = 64
"""Deeper than any document of ours; a value this deep still fits Python's own stack many times."""


class _Members(list[tuple[str, object]]):
    """The members of an object in the order written, duplicates included."""


def read_json(text: bytes) -> Json:
    """Read any JSON value; raises ``RefusedError``."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse("", "utf-8", f"is not UTF-8 at byte {error.start}") from error
    try:
        parsed: object = json.loads(
            decoded,
            object_pairs_hook=_Members,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise refuse("", "json", f"is not JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        raise refuse("", "depth", f"is nested deeper than {DEPTH_MAX} levels") from error
    return _checked(parsed, "", 0)


def _checked(value: object, pointer: str, depth: int) -> Json:
    if depth > DEPTH_MAX:
        raise refuse(pointer, "depth", f"is nested deeper than {DEPTH_MAX} levels")
    if _is_array(value) and not isinstance(value, _Members):
        return [_checked(each, pointer_to(pointer, at), depth + 1) for at, each in enumerate(value)]
    match value:
        case _Members():
            return _object(value, pointer, depth)
        case str():
            return checked_text(value, pointer)
        case RefusedError():
            fault = value.faults[0]
            raise refuse(pointer, fault.code, fault.detail)
        case None | bool() | int() | Decimal():
            return value
        case _:
            raise AssertionError("the JSON decoder gives nothing else")


def _is_array(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _object(members: _Members, pointer: str, depth: int) -> JsonObject:
    made: JsonObject = {}
    for key, value in members:
        at = pointer_to(pointer, key.encode("utf-8", "replace").decode())
        checked_text(key, at)
        if key in made:
            raise refuse(at, "duplicate-key", "stands twice in one object")
        made[key] = _checked(value, at, depth + 1)
    return made


def checked_text(value: str, pointer: str) -> str:
    """The text itself, unless it has what no store of ours keeps."""
    if "\0" in value:
        raise refuse(pointer, "text", "has U+0000")
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        raise refuse(pointer, "text", "has a lone surrogate")
    return value


def _integer(digits: str) -> object:
    if len(digits.lstrip("-")) > DIGITS_MAX:
        return refuse("", "number", f"has more than {DIGITS_MAX} digits")
    return int(digits)


def _decimal(digits: str) -> object:
    return exact_decimal(digits)


def exact_decimal(digits: str) -> "Decimal | RefusedError":
    """The number that the text says, or why it cannot be kept exactly."""
    try:
        number = Decimal(digits)
    except InvalidOperation:  # an exponent beyond what a Decimal holds
        return _out_of_range()
    if not number.is_finite() or abs(number.adjusted()) > EXPONENT_MAX:
        return _out_of_range()
    if len(number.as_tuple().digits) > DIGITS_MAX:
        return refuse("", "number", f"has more than {DIGITS_MAX} digits")
    return number


def _out_of_range() -> RefusedError:
    return refuse("", "number", f"has an exponent beyond {EXPONENT_MAX}")


def _constant(name: str) -> object:
    return refuse("", "number", f"{name} is not a number of JSON")
