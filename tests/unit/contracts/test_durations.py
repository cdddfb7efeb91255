"""Durations: fixed lengths and the calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from contracts.durations import add_duration, parse_duration, parse_fixed_duration

WARSAW = ZoneInfo("Europe/Warsaw")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("P30D", timedelta(days=30)),
        ("P2W", timedelta(weeks=2)),
        ("PT1H", timedelta(hours=1)),
        ("P1DT2H3M4S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("PT90M", timedelta(minutes=90)),
    ],
)
def test_a_fixed_length_is_read(text: str, length: timedelta) -> None:
    assert parse_fixed_duration(text) == length


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P1DT", "1D", "P1H", "PT1D", "P-1D", "P1.5D", "p1d", "P1D ", "P٣D", "P0D",
     "PT0S", "P101Y", "P999999999D", "P999999999W", "P1D1W", "P9999999999D"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["P1M", "P1Y", "P1Y1D"])
def test_a_calendar_length_is_no_fixed_one(text: str) -> None:
    assert not parse_duration(text).is_fixed
    with pytest.raises(ValueError, match="months or years"):
        parse_fixed_duration(text)


@pytest.mark.parametrize(
    ("start", "text", "end"),
    [
        ("2026-01-31T12:00:00+01:00", "P1M", "2026-02-28T12:00:00+01:00"),
        ("2028-01-31T12:00:00+01:00", "P1M", "2028-02-29T12:00:00+01:00"),
        ("2028-02-29T12:00:00+01:00", "P1Y", "2029-02-28T12:00:00+01:00"),
        ("2026-12-31T12:00:00+01:00", "P2M", "2027-02-28T12:00:00+01:00"),
        ("2026-03-15T12:00:00+01:00", "P1M", "2026-04-15T12:00:00+02:00"),
        ("2026-02-28T02:30:00+01:00", "P1M1D", "2026-03-29T03:30:00+02:00"),
        ("2027-02-28T02:30:00+01:00", "P1M", "2027-03-28T03:30:00+02:00"),
        ("2026-03-28T12:00:00+01:00", "P1D", "2026-03-29T13:00:00+02:00"),
        ("2026-11-21T00:30:00+01:00", "P12M", "2027-11-21T00:30:00+01:00"),
    ],
)
def test_months_keep_the_wall_clock_and_days_their_length(start: str, text: str, end: str) -> None:
    found = add_duration(datetime.fromisoformat(start), parse_duration(text), WARSAW)

    assert found == datetime.fromisoformat(end)
    assert found.tzinfo is UTC
