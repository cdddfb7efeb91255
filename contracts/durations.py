"""ISO 8601 durations: ``P30D``, ``PT1H``, ``P12M``.

Weeks, days, hours, minutes and seconds are fixed lengths (a day is 24 hours). Months and years are
calendar lengths: they keep the local wall clock, clamp to the last day of the month, and a time
that daylight saving skips moves on by the gap. Fractions and signs are refused.
"""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from msgspec import Struct

YEARS_MAX: Final = 100  # longest duration, years; keeps instants inside what datetime can say
DAYS_PER_YEAR: Final = 366
DAYS_PER_MONTH: Final = 31

_FORM: Final = re.compile(
    r"P(?=.)(?:(?P<years>\d{1,9})Y)?(?:(?P<months>\d{1,9})M)?"
    r"(?:(?P<weeks>\d{1,9})W)?(?:(?P<days>\d{1,9})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9})S)?)?",
    re.ASCII,
)


class Duration(Struct, frozen=True, kw_only=True):
    """Calendar months, then a fixed length; at least one of the two is positive."""

    months: int
    fixed: timedelta

    @property
    def is_fixed(self) -> bool:
        """True when the duration has the same length wherever it starts."""
        return self.months == 0


def parse_duration(text: str) -> Duration:
    """Read a duration.

    Raises:
        ValueError: not of the form, zero, or longer than ``YEARS_MAX`` years.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("is not an ISO 8601 duration such as P30D or PT1H")
    part = {name: int(digits or 0) for name, digits in found.groupdict().items()}
    months = part["years"] * 12 + part["months"]
    try:
        fixed = timedelta(
            weeks=part["weeks"],
            days=part["days"],
            hours=part["hours"],
            minutes=part["minutes"],
            seconds=part["seconds"],
        )
    except OverflowError as error:
        raise ValueError(f"is longer than {YEARS_MAX} years") from error
    if months == 0 and not fixed:
        raise ValueError("is a duration of zero")
    if months * DAYS_PER_MONTH + fixed.days > YEARS_MAX * DAYS_PER_YEAR:
        raise ValueError(f"is longer than {YEARS_MAX} years")
    return Duration(months=months, fixed=fixed)


def parse_fixed_duration(text: str) -> timedelta:
    """Read a duration of fixed length.

    Raises:
        ValueError: as ``parse_duration``, or it has months or years.
    """
    duration = parse_duration(text)
    if not duration.is_fixed:
        raise ValueError("has months or years; weeks, days and hours are fixed lengths")
    return duration.fixed


def add_duration(instant: datetime, duration: Duration, zone: tzinfo) -> datetime:
    """``instant`` later by ``duration``, months counted on the wall clock of ``zone``; in UTC.

    Args:
        instant: aware.
        duration: months first, then the fixed length.
        zone: the zone of the wall clock.
    """
    if duration.months:
        instant = _add_months(instant.astimezone(zone), duration.months)
    return instant.astimezone(UTC) + duration.fixed


def _add_months(local: datetime, months: int) -> datetime:
    year, month_index = divmod(local.year * 12 + local.month - 1 + months, 12)
    day = min(local.day, monthrange(year, month_index + 1)[1])
    # Where the wall clock skips this time, fold 0 takes the offset before the gap: UTC moves on.
    return local.replace(year=year, month=month_index + 1, day=day, fold=0)
