"""Pages: how many rows, and where one ended.

Guarantee: a cursor reads back only in the list that answered it.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from contracts.errors import refuse

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

    offset: int
    number: int


class ActivityEnd(msgspec.Struct, frozen=True, array_like=True, tag="activity"):
    """Where a page of the workspace's activity ended."""

    recorded_at: datetime
    partition: int
    offset: int
    number: int


E = TypeVar("E", EventsEnd, TimelineEnd, ActivityEnd)


def write_cursor(end: EventsEnd | TimelineEnd | ActivityEnd) -> str:
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
        plain = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        end = msgspec.msgpack.decode(plain, type=kind)
        _check_bounds(end)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise refuse("/query/cursor", "cursor", "is not a next_cursor of this list") from error
    return end


def _check_bounds(end: EventsEnd | TimelineEnd | ActivityEnd) -> None:
    match end:
        case EventsEnd(occurred_at=at, fact=fact):
            bytes.fromhex(fact)
            in_bounds = at.tzinfo is not None and len(fact) == len("0" * 32)
        case TimelineEnd(offset=offset, number=number):
            in_bounds = 0 <= offset <= OFFSET_END and 0 <= number < 2**15
        case ActivityEnd(recorded_at=at, partition=partition, offset=offset, number=number):
            in_bounds = (
                at.tzinfo is not None
                and 0 <= partition < 2**31
                and 0 <= offset <= OFFSET_END
                and 0 <= number < 2**15
            )
    if not in_bounds:
        raise ValueError(end)


def check_limit(limit: int) -> int:
    """Return the limit; raises ``RefusedError`` unless it is between 1 and ``LIMIT_MAX``."""
    if not 1 <= limit <= LIMIT_MAX:
        raise refuse("/query/limit", "range", f"is not between 1 and {LIMIT_MAX}")
    return limit
