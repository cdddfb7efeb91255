"""Rows and arrays in Postgres' binary form: half the cost of text at either end.

Guarantee: what these functions spell Postgres takes as it is, except text with U+0000, which it
refuses as a data error. A key of another length than 16 bytes is refused here, since Postgres
takes it for a broken connection.

A row is its count of columns as int16, then its columns; a column is its length as int32 and its
bytes. Stores pack the columns of fixed width with one ``struct.Struct`` and add the others.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from contracts.identifiers import CustomerId
from projections.kernel.errors import InvalidRecordError

NULL = b"\xff\xff\xff\xff"
"""A column that is null."""
KEY_BYTES = 16
NAMES_MAX = 4_096
"""Names whose spelling is kept."""
CUSTOMERS_MAX = 16_384
"""Customers whose keys are kept: those of a batch are spelled for several tables. About 4 MB."""

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_CUSTOMER_PREFIX = "cust_"
_OID_TEXT, _OID_UUID, _OID_BIGINT = 25, 2950, 20
_OID_TEXTS, _OID_UUIDS, _OID_BIGINTS = 1009, 2951, 1016

_length = Struct(">i").pack
_instant = Struct(">iq").pack
_bigint = Struct(">q").pack
_array_header = Struct(">iiiii").pack


def micros(at: datetime) -> int:
    """Return an instant as a ``timestamptz`` column holds it: microseconds since 2000."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(at: datetime | None) -> bytes:
    """Spell a ``timestamptz`` column."""
    return NULL if at is None else _instant(8, micros(at))


def text(value: str) -> bytes:
    """Spell a ``text`` column."""
    return raw(value.encode())


@lru_cache(NAMES_MAX)
def name(value: str) -> bytes:
    """Spell a ``text`` column of which there are few: a workspace, a program."""
    return text(value)


def raw(value: bytes) -> bytes:
    """Spell a ``text`` column from UTF-8, or a ``bytea`` column."""
    return _length(len(value)) + value


def jsonb(value: bytes) -> bytes:
    """Spell a ``jsonb`` column from JSON."""
    return _length(len(value) + 1) + b"\x01" + value


def uuid(key: bytes | None) -> bytes:
    """Spell a ``uuid`` column."""
    return NULL if key is None else b"\0\0\0\x10" + key


@lru_cache(CUSTOMERS_MAX)
def customer_key(customer: str) -> bytes:
    """Return a customer id as a ``uuid`` column holds it.

    Raises:
        InvalidRecordError: it is none.
    """
    try:
        key = bytes.fromhex(customer[5:])
    except ValueError as error:
        raise InvalidRecordError("not a customer id", "no hexadecimal digits") from error
    if len(key) != KEY_BYTES or not customer.startswith(_CUSTOMER_PREFIX):
        raise InvalidRecordError("not a customer id", "another form")
    return key


def customer_id(key: bytes) -> CustomerId:
    """Return the public id of a customer's key."""
    return CustomerId(_CUSTOMER_PREFIX + key.hex())


class Spelled(bytes):
    """A parameter of whatever type its place in the statement has."""


class UuidArray(bytes):
    """A parameter of type ``uuid[]``."""


class TextArray(bytes):
    """A parameter of type ``text[]``."""


class BigintArray(bytes):
    """A parameter of type ``bigint[]``."""


def uuids(keys: Collection[bytes]) -> UuidArray:
    """Spell an array of keys, 16 bytes each."""
    return UuidArray(_array(_OID_UUID, keys))


def texts(values: Iterable[str]) -> TextArray:
    """Spell an array of strings."""
    return TextArray(_array(_OID_TEXT, [value.encode() for value in values]))


def bigints(values: Iterable[int]) -> BigintArray:
    """Spell an array of whole numbers."""
    return BigintArray(_array(_OID_BIGINT, [_bigint(value) for value in values]))


def array(oid: int, columns: Collection[bytes]) -> Spelled:
    """Spell an array of columns that are spelled already, each with its length."""
    header = _array_header(1, NULL in columns, oid, len(columns), 1)
    return Spelled(header + b"".join(columns))


def _array(oid: int, elements: Collection[bytes]) -> bytes:
    parts = [_array_header(1, 0, oid, len(elements), 1)]
    if oid == _OID_TEXT:
        parts += [_length(len(element)) + element for element in elements]
    elif elements:
        length = _length(KEY_BYTES if oid == _OID_UUID else 8)
        parts += (length, length.join(elements))
    return b"".join(parts)


class _AsItIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        """Return the parameter, which is spelled already."""
        return obj


class _Spelled(_AsItIs):
    oid = 0  # the server infers it


class _Uuids(_AsItIs):
    oid = _OID_UUIDS


class _Texts(_AsItIs):
    oid = _OID_TEXTS


class _Bigints(_AsItIs):
    oid = _OID_BIGINTS


psycopg.adapters.register_dumper(Spelled, _Spelled)
psycopg.adapters.register_dumper(UuidArray, _Uuids)
psycopg.adapters.register_dumper(TextArray, _Texts)
psycopg.adapters.register_dumper(BigintArray, _Bigints)
