"""Calendar periods: midnights that daylight saving moves, and years that zones share."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from contracts.calendars import EVER, Per, day_begins, period_of

WARSAW = ZoneInfo("Europe/Warsaw")


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [
        ("day", "2026-11-21T00:00:00+01:00", "2026-11-22T00:00:00+01:00"),
        ("week", "2026-11-16T00:00:00+01:00", "2026-11-23T00:00:00+01:00"),
        ("month", "2026-11-01T00:00:00+01:00", "2026-12-01T00:00:00+01:00"),
        ("year", "2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"),
    ],
)
def test_a_period_is_of_the_zones_wall_clock(per: Per, start: str, end: str) -> None:
    found = period_of(datetime(2026, 11, 20, 23, tzinfo=UTC), per, WARSAW)

    assert (found.start, found.end) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


@pytest.mark.parametrize(
    ("instant", "hours"), [("2026-03-29T12:00:00Z", 23), ("2026-10-25T12:00:00Z", 25)]
)
def test_a_day_has_the_hours_that_daylight_saving_leaves_it(instant: str, hours: int) -> None:
    found = period_of(datetime.fromisoformat(instant), "day", WARSAW)

    assert found.end - found.start == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("zone", "day", "begins"),
    [
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00:00Z"),  # 00:00 skipped
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00:00Z"),  # 00:00 twice
        ("America/Toronto", date(1919, 3, 31), "1919-03-31T04:30:00Z"),  # from 23:30 to 00:30
        ("America/St_Johns", date(2006, 10, 29), "2006-10-29T02:30:00Z"),  # from 00:01 to 23:01
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00:00Z"),  # no such day
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00:00Z"),
    ],
)
def test_a_day_begins_when_the_wall_clock_first_shows_it(zone: str, day: date, begins: str) -> None:
    assert day_begins(day, ZoneInfo(zone)) == datetime.fromisoformat(begins)


def test_minutes_of_yesterday_that_come_again_belong_to_the_day_that_had_begun() -> None:
    zone = ZoneInfo("America/St_Johns")
    again = datetime(2006, 10, 29, 3, tzinfo=UTC)

    assert again.astimezone(zone).date() == date(2006, 10, 28)
    assert period_of(again, "day", zone).start == day_begins(date(2006, 10, 29), zone)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
@pytest.mark.parametrize("per", ["day", "week", "month", "year", "ever"])
@pytest.mark.parametrize("instant", [EVER.start, datetime(2, 1, 1, tzinfo=UTC)])
def test_the_first_years_have_periods_in_every_zone(zone: str, per: Per, instant: datetime) -> None:
    found = period_of(instant, per, ZoneInfo(zone))

    assert found.start <= instant < found.end
