"""The types of properties: which JSON values each takes, and how it reads as JSON Schema.

Guarantee: ``takes`` is the authority; the generated decoder of ``fast_type`` takes nothing that
``takes`` refuses. ``integer`` takes 1.0 as JSON Schema does. A ``geopoint`` is ``[lat, lon]`` or
``{"lat": …, "lon": …}`` in degrees. A ``url`` is http or https.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from operator import or_  # pyright: ignore[reportUnknownVariableType]  # untyped in typeshed
from types import GenericAlias
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Struct

from contracts.codec import Json
from contracts.decimals import is_number

PropertyType = Literal[
    "string", "number", "integer", "boolean", "date", "datetime", "object", "geopoint", "url"
]

URL_PATTERN: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]+[^\s]*$(?!\n)"
LATITUDE_MAX: Final = 90  # degrees
LONGITUDE_MAX: Final = 180  # degrees

_URL: Final = re.compile(URL_PATTERN)
_INT64_MAX: Final = 2**63 - 1

_Latitude = Annotated[float, msgspec.Meta(ge=-LATITUDE_MAX, le=LATITUDE_MAX)]
_Longitude = Annotated[float, msgspec.Meta(ge=-LONGITUDE_MAX, le=LONGITUDE_MAX)]

_FAST: Final[dict[PropertyType, object]] = {
    "string": str,
    "number": float,
    "integer": int,
    "boolean": bool,
    "date": date,
    "datetime": Annotated[datetime, msgspec.Meta(tz=True)],
    "object": dict[str, msgspec.Raw],
    "geopoint": tuple[_Latitude, _Longitude],
    "url": Annotated[str, msgspec.Meta(pattern=URL_PATTERN)],
}
_SCHEMAS: Final[dict[PropertyType, dict[str, object]]] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "object": {"type": "object"},
    "url": {"type": "string", "pattern": URL_PATTERN.removesuffix(r"(?!\n)")},
    "geopoint": {
        "anyOf": [
            {
                "type": "array",
                "prefixItems": [
                    {"type": "number", "minimum": -LATITUDE_MAX, "maximum": LATITUDE_MAX},
                    {"type": "number", "minimum": -LONGITUDE_MAX, "maximum": LONGITUDE_MAX},
                ],
                "minItems": 2,
                "maxItems": 2,
            },
            {
                "type": "object",
                "properties": {
                    "lat": {"type": "number", "minimum": -LATITUDE_MAX, "maximum": LATITUDE_MAX},
                    "lon": {"type": "number", "minimum": -LONGITUDE_MAX, "maximum": LONGITUDE_MAX},
                },
                "required": ["lat", "lon"],
                "additionalProperties": False,
            },
        ]
    },
}


class Property(Struct, frozen=True, kw_only=True):
    """One declared field of metadata."""

    type: PropertyType
    required: bool = False
    enum: tuple[Json, ...] | None = None
    pii: bool = False
    array: bool = False


def takes(kind: PropertyType, value: Json) -> bool:
    """True when ``value``, as the codec decodes it, is of the type."""
    return _TAKES[kind](value)


def check_enum(kind: PropertyType, choices: Sequence[Json]) -> list[int]:
    """The places in ``choices`` of what is not a value of the type."""
    return [index for index, choice in enumerate(choices) if not takes(kind, choice)]


def is_choice(choices: tuple[Json, ...], value: Json) -> bool:
    """True when ``value`` equals a choice; a boolean equals no number."""
    return any(
        isinstance(choice, bool) is isinstance(value, bool) and choice == value
        for choice in choices
    )


def fast_type(declared: Property) -> object | None:
    """The type for a generated decoder; None when only ``takes`` can tell.

    Numbers are read as float there: only their form is looked at, the value is dropped.
    """
    kind = _FAST[declared.type] if declared.enum is None else _fast_enum(declared.enum)
    if kind is None:
        return None
    if declared.array:
        kind = GenericAlias(list, (kind,))
    return kind if declared.required else _either(kind, None)


_either: Callable[[object, object], object] = or_  # pyright: ignore[reportUnknownVariableType]


def _fast_enum(choices: tuple[Json, ...]) -> object | None:
    literals = tuple(
        choice
        for choice in choices
        if isinstance(choice, str) or (type(choice) is int and abs(choice) <= _INT64_MAX)
    )
    return Literal[literals] if literals else None


def property_schema(declared: Property) -> dict[str, object]:
    """The property as JSON Schema; an optional one may be null."""
    schema: dict[str, object] = dict(_SCHEMAS[declared.type])
    if declared.enum is not None:
        schema["enum"] = list(declared.enum)
    if declared.array:
        schema = {"type": "array", "items": schema}
    return schema if declared.required else {"anyOf": [schema, {"type": "null"}]}


def _is_whole(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.as_tuple().exponent == 0 or value == value.to_integral_value()
    return type(value) is int


def _is_geopoint(value: Json) -> bool:
    match value:
        case {"lat": latitude, "lon": longitude, **others} if not others:
            pass
        case [latitude, longitude]:
            pass
        case _:
            return False
    if not is_number(latitude) or not is_number(longitude):
        return False
    return abs(latitude) <= LATITUDE_MAX and abs(longitude) <= LONGITUDE_MAX


def _reads_as(value: object, kind: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_flag(value: Json) -> bool:
    return isinstance(value, bool)


def _is_object(value: Json) -> bool:
    return isinstance(value, dict)


def _is_date(value: Json) -> bool:
    return _reads_as(value, date)


def _is_time(value: Json) -> bool:
    return _reads_as(value, _FAST["datetime"])


def _is_url(value: Json) -> bool:
    return isinstance(value, str) and _URL.search(value) is not None


_TAKES: Final[Mapping[PropertyType, Callable[[Json], bool]]] = {
    "string": _is_text,
    "number": is_number,
    "integer": _is_whole,
    "boolean": _is_flag,
    "date": _is_date,
    "datetime": _is_time,
    "object": _is_object,
    "geopoint": _is_geopoint,
    "url": _is_url,
}
