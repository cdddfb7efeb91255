"""JSON as Upshot reads and writes it: numbers exact, bytes stable.

Guarantee: no number passes through a float, on the way in or out. An untyped number is an ``int``
or a ``Decimal`` and is written back with the same digits.
"""

import json
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from contracts.cloudevent import CloudEvent

JsonScalar = None | bool | int | Decimal | str
Json = JsonScalar | list["Json"] | dict[str, "Json"]
JsonObject = dict[str, Json]

T = TypeVar("T")

INT_DIGITS_MAX: Final = 640
"""Digits of an ``int``; a longer whole number is a ``Decimal``, as Python reads and writes no int
of more than 4,300 digits, which a store may have spelled out (1e5000 in ``jsonb``)."""

_encoder = msgspec.json.Encoder(decimal_format="number")
_untyped = msgspec.json.Decoder(float_hook=Decimal)
_object = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_cloud_event = msgspec.json.Decoder(CloudEvent)

encode = _encoder.encode
"""Write a value as compact JSON bytes; decimals as numbers, times as RFC 3339."""

encode_into = _encoder.encode_into
"""Write a value into a bytearray, at an offset."""

decode_record = _cloud_event.decode
"""Read a record's value. Raises ``msgspec.DecodeError`` or ``msgspec.ValidationError``."""


def decode_json(raw: bytes | msgspec.Raw) -> Json:
    """Read any JSON value; raises ``msgspec.DecodeError`` when it is malformed."""
    return _untyped.decode(raw)


def decode_object(raw: bytes | msgspec.Raw) -> JsonObject:
    """Read a JSON object; raises ``msgspec.ValidationError`` when it is something else."""
    return _object.decode(raw)


def decode_stored(raw: bytes | msgspec.Raw) -> Json:
    """Read what a store of ours gave back, however long it spelled a whole number out.

    Raises:
        msgspec.DecodeError: it is malformed.
    """
    try:
        return _untyped.decode(raw)
    except msgspec.ValidationError:
        pass  # a whole number that is longer than an int takes
    try:
        value: Json = json.loads(
            bytes(raw), parse_int=_whole, parse_float=Decimal, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise msgspec.DecodeError(f"{name} is no number")


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= INT_DIGITS_MAX else Decimal(digits)


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Make a decoder of a struct whose untyped numbers stay exact."""
    return msgspec.json.Decoder(kind, float_hook=Decimal)


def raw(value: object) -> msgspec.Raw:
    """Encode a value for a field that travels as raw JSON."""
    return msgspec.Raw(_encoder.encode(value))
