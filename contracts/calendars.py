"""Calendar periods: the day, week, month or year of a zone's wall clock that an instant is in.

Guarantee: periods of a kind follow each other without gap or overlap, so that an instant is in one.
A period begins when the wall clock first shows its first day or a later one, whatever daylight
saving makes of that midnight; weeks begin on Monday. Where clocks went back over midnight, the
minutes of yesterday that came again belong to the day that had begun.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

Per = Literal["day", "week", "month", "year", "ever"]

PERIODS_MAX: Final = 4_096
"""Periods that are kept: a batch meets the same few days and months again and again."""

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(weeks=1)
_OVER_A_MONTH: Final = timedelta(days=31)
_SECOND: Final = timedelta(seconds=1)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_FIRST: Final = datetime(2, 1, 1, tzinfo=UTC)
"""Before it the wall clock of some zone, or its week, would be of no year that datetime has."""


class Period(Struct, frozen=True, gc=False):
    """Instants from ``start``, included, to ``end``, excluded; whole seconds, in UTC."""

    start: datetime
    end: datetime


EVER: Final = Period(_BEGINNING, datetime.max.replace(tzinfo=UTC, microsecond=0))


def period_of(instant: datetime, per: Per, zone: ZoneInfo) -> Period:
    """Find the period that an instant is in; all of year 1 is one.

    Args:
        instant: aware, before the year 9999.
        per: what kind of period.
        zone: whose wall clock shows the days.
    """
    if per == "ever":
        return EVER
    if instant < _FIRST:
        return Period(_BEGINNING, _FIRST)
    first = _first_day(instant.astimezone(zone).date(), per)
    period = _period(first, per, zone)
    while instant >= period.end:
        first = _next_first_day(first, per)
        period = _period(first, per, zone)
    return period


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """Find the instant at which the wall clock of ``zone`` first shows ``day`` or a later one."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    after = midnight.astimezone(UTC)
    before = midnight.replace(fold=1).astimezone(UTC)
    # By the offset before a change (fold 0) and after it: the same instant on nearly every day,
    # and the earlier of the two where midnight comes twice. Where it is skipped, the change is
    # between them.
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).date() >= day:
            after = middle
        else:
            before = middle
    return after


@lru_cache(PERIODS_MAX)
def _period(first: date, per: Per, zone: ZoneInfo) -> Period:
    return Period(day_begins(first, zone), day_begins(_next_first_day(first, per), zone))


def _first_day(day: date, per: Per) -> date:
    match per:
        case "week":
            return day - day.weekday() * _DAY
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case "day" | "ever":
            return day


def _next_first_day(first: date, per: Per) -> date:
    match per:
        case "week":
            return first + _WEEK
        case "month":
            return (first + _OVER_A_MONTH).replace(day=1)
        case "year":
            return first.replace(year=first.year + 1)
        case "day" | "ever":
            return first + _DAY
