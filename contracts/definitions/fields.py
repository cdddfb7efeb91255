"""Field types that definitions share, and how pydantic's findings become faults.

A field given as null counts as absent. Types are strict: ``"5"`` is no number, ``1`` no boolean.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from contracts.conditions.operators import parse_time
from contracts.decimals import DIGITS_MAX, exact_number
from contracts.definitions.names import NAME_PATTERN
from contracts.durations import parse_fixed_duration
from contracts.errors import UNSUPPORTED, Fault, RefusedError, pointer_to, refuse
from contracts.shapes import is_object

POINTS_MAX: Final = 1_000_000_000  # points of one award; a balance of many still fits 64 bits
TIMES_MAX: Final = 1_000_000_000  # how often something may happen: beyond, it is no limit


_CODES: Final[Mapping[str, str]] = {
    "missing": "required",
    "extra_forbidden": "unknown-field",
    "literal_error": "enum",
    "string_pattern_mismatch": "pattern",
}


class Document(BaseModel):
    """A document or a part of one: unknown fields refused, null counted as absent."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_by_name=False, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: object) -> object:
        if is_object(value):
            return {name: inner for name, inner in value.items() if inner is not None}
        return value


DocumentT = TypeVar("DocumentT", bound=Document)


def read_document(kind: type[DocumentT], spec: object, pointer: str) -> DocumentT:
    """Check ``spec`` against a document's fields.

    Raises:
        RefusedError: with one fault a field, pointers starting with ``pointer``.
    """
    if not is_object(spec):
        raise refuse(pointer, "type", "is not an object")
    try:
        return kind.model_validate(spec)
    except ValidationError as error:
        raise RefusedError(_fault(found, pointer) for found in error.errors()) from error


def _fault(found: ErrorDetails, pointer: str) -> Fault:
    kind = found["type"]
    code = _CODES.get(kind, "type" if kind.endswith("_type") else kind.replace("_", "-"))
    place = [part for part in found["loc"] if part != "[key]"]
    return Fault(pointer=pointer_to(pointer, *place), code=code, detail=found["msg"])


def _instant(value: object) -> datetime:
    instant = parse_time(value)
    if instant is None:
        raise PydanticCustomError(
            "time", "is not a time with its zone, such as 2026-11-21T09:30:00Z"
        )
    return instant


def _exact_instant(value: object) -> datetime:
    if isinstance(value, str) and len(value) <= len("2026-11-21"):
        raise PydanticCustomError(
            "time", "is not a time with its zone, such as 2026-11-21T09:30:00Z"
        )
    return _instant(value)


def _fixed_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("type", "is not a duration such as P30D")
    try:
        return parse_fixed_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from error


def _whole(most: int) -> BeforeValidator:
    def check(value: object) -> int:
        number = None if isinstance(value, bool) else exact_number(value)
        if not isinstance(number, int):
            raise PydanticCustomError("type", "is not a whole number")
        if not 1 <= number <= most:
            raise PydanticCustomError("range", "is not between 1 and {most}", {"most": most})
        return number

    return BeforeValidator(check)


def _decimal(value: object) -> Decimal:
    number = None if isinstance(value, bool) else exact_number(value)
    if number is None:
        raise PydanticCustomError("type", "is not a number")
    decimal = Decimal(number)
    if len(decimal.as_tuple().digits) > DIGITS_MAX or abs(decimal.adjusted()) > DIGITS_MAX:
        raise PydanticCustomError("range", "has more than {most} digits", {"most": DIGITS_MAX})
    return decimal


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise PydanticCustomError("range", "is not above zero")
    return value


def _unsupported(value: object) -> None:
    if value in ([], {}):
        return
    raise PydanticCustomError(UNSUPPORTED, "is not supported yet")


def _choice(value: object) -> str | int | Decimal | bool:
    if isinstance(value, str | bool):
        return value
    number = exact_number(value)
    if number is None:
        raise PydanticCustomError("type", "is not a string, a number or a boolean")
    return number


Choice = Annotated[str | int | Decimal | bool, PlainValidator(_choice)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
ExactInstant = Annotated[datetime, BeforeValidator(_exact_instant)]
"""A time that is not a date: a day begins elsewhere in another zone."""
FixedDuration = Annotated[timedelta, BeforeValidator(_fixed_duration)]
WholePoints = Annotated[int, _whole(POINTS_MAX)]
Times = Annotated[int, _whole(TIMES_MAX)]
ExactDecimal = Annotated[Decimal, BeforeValidator(_decimal)]
PositiveDecimal = Annotated[Decimal, BeforeValidator(lambda value: _positive(_decimal(value)))]
DefinitionName = Annotated[str, Field(pattern=NAME_PATTERN)]
Unsupported = Annotated[None, BeforeValidator(_unsupported)]
"""A field of the surface that is refused for now: ignoring it would change what a rule does."""
