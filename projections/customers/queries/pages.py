"""Pages: how many rows, and where one ended.

Guarantee: a cursor reads back only in the list that answered it.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from contracts.errors import RefusedError, refuse

LIMIT_MAX: Final = 500
"""Rows of one page: an answer of some hundred kilobytes."""
FAR_FUTURE: Final = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
FAR_PAST: Final = datetime(1, 1, 1, tzinfo=UTC)
OFFSET_END: Final = 2**63 - 1


class EventsEnd(msgspec.Struct, frozen=True, array_like=True, tag="events"):
    """Where a page of events ended: the last one's time and the digits of its key."""

    occurred_at: datetime
    fact: str


class TimelineEnd(msgspec.Struct, frozen=True, array_like=True, tag="timeline"):
    """Where a page of a customer's timeline ended."""

    recorded_at: datetime
    partition: int
    offset: int
    number: int


class ActivityEnd(msgspec.Struct, frozen=True, array_like=True, tag="activity"):
    """Where a page of the workspace's activity ended."""

    recorded_at: datetime
    partition: int
    offset: int
    number: int


class NextPlace(msgspec.Struct, frozen=True, array_like=True):
    """The first place of a partition not told; nothing from there on has an earlier time."""

    recorded_at: datetime
    offset: int
    number: int


class CustomersEnd(msgspec.Struct, frozen=True, array_like=True, tag="customers"):
    """Where a page of customers ended: when the last one was created, and its digits."""

    created_at: datetime
    customer: str


class StreamEnd(msgspec.Struct, frozen=True, array_like=True, tag="stream"):
    """Where a stream of the workspace's activity stands: a place a partition, from partition 0."""

    places: tuple[NextPlace, ...]


_UNREADABLE: Final = (ValueError, binascii.Error, msgspec.DecodeError)

End = EventsEnd | TimelineEnd | ActivityEnd | CustomersEnd | StreamEnd
E = TypeVar("E", EventsEnd, TimelineEnd, ActivityEnd, CustomersEnd, StreamEnd)


def write_cursor(end: End) -> str:
    """Spell where a page ended as an opaque text."""
    return urlsafe_b64encode(msgspec.msgpack.encode(end)).rstrip(b"=").decode()


def read_cursor(cursor: str | None, kind: type[E], start: E) -> E:
    """Read where a page ended; without a cursor, ``start``.

    Raises:
        RefusedError: it is none that this list answered.
    """
    if cursor is None:
        return start
    try:
        return _read(cursor, kind)
    except _UNREADABLE as error:
        raise refuse("/query/cursor", "cursor", "is not a next_cursor of this list") from error


def read_place(place: str, partitions: int) -> StreamEnd:
    """Read where a stream stands.

    Raises:
        RefusedError: it is none that a stream over so many partitions answered.
    """
    try:
        end = _read(place, StreamEnd)
    except _UNREADABLE as error:
        raise _not_a_place() from error
    if len(end.places) != partitions:
        raise _not_a_place()
    return end


def _not_a_place() -> RefusedError:
    return refuse("/headers/Last-Event-ID", "place", "is not the id of an event of this stream")


def _read(cursor: str, kind: type[E]) -> E:
    plain = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    end = msgspec.msgpack.decode(plain, type=kind)
    _check_bounds(end)
    return end


def _check_bounds(end: End) -> None:
    match end:
        case EventsEnd(at, digits) | CustomersEnd(at, digits):
            bytes.fromhex(digits)
            in_bounds = at.tzinfo is not None and len(digits) == len("0" * 32)
        case TimelineEnd(offset=offset, number=number):
            in_bounds = 0 <= offset <= OFFSET_END and 0 <= number < 2**15
        case ActivityEnd(recorded_at=at, partition=partition, offset=offset, number=number):
            in_bounds = 0 <= partition < 2**31 and _is_place(at, offset, number)
        case StreamEnd(places=places):
            in_bounds = all(_is_place(at.recorded_at, at.offset, at.number) for at in places)
    if not in_bounds:
        raise ValueError(end)


def _is_place(at: datetime, offset: int, number: int) -> bool:
    return at.tzinfo is not None and 0 <= offset <= OFFSET_END and 0 <= number < 2**15


def check_limit(limit: int) -> int:
    """Return the limit; raises ``RefusedError`` unless it is between 1 and ``LIMIT_MAX``."""
    if not 1 <= limit <= LIMIT_MAX:
        raise refuse("/query/limit", "range", f"is not between 1 and {LIMIT_MAX}")
    return limit
