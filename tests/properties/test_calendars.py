"""Calendar periods against the wall clock, asked minute by minute."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from contracts.calendars import Per, period_of

ZONES = (
    "UTC", "Europe/Warsaw", "America/Havana", "America/Sao_Paulo", "America/St_Johns",
    "America/Nuuk", "Asia/Beirut", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia",
)  # fmt: skip
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

zones = st.sampled_from(ZONES).map(ZoneInfo)
pers: st.SearchStrategy[Per] = st.sampled_from(["day", "week", "month", "year"])


@st.composite
def instants(draw: st.DrawFn) -> tuple[datetime, ZoneInfo]:
    """An instant from 1987 to 2037, more often than not beside a change of the zone's offset."""
    zone = draw(zones)
    day = draw(st.datetimes(datetime(1987, 1, 3), datetime(2037, 12, 1))).replace(tzinfo=UTC)  # noqa: DTZ001
    for ahead in range(draw(st.sampled_from([0, 400]))):
        after = day + ahead * DAY
        if after.astimezone(zone).utcoffset() != (after + DAY).astimezone(zone).utcoffset():
            day = after.replace(second=0, microsecond=0)
            break
    minutes = draw(st.integers(-1440, 2880))
    return day + minutes * MINUTE, zone


def names(per: Per, day: date) -> tuple[int, ...]:
    """What a period is called: equal for the days of one period, growing with time."""
    match per:
        case "week":
            return day.isocalendar()[:2]
        case "month":
            return (day.year, day.month)
        case "year":
            return (day.year,)
        case "day" | "ever":
            return (day.year, day.month, day.day)


@given(instants(), pers)
def test_a_period_has_the_instants_at_which_the_wall_clock_shows_its_days(
    told: tuple[datetime, ZoneInfo], per: Per
) -> None:
    instant, zone = told

    found = period_of(instant, per, zone)

    def shown(at: datetime) -> tuple[int, ...]:
        """The greatest that the wall clock has shown until then: it may have gone back."""
        minutes = [at - back * MINUTE for back in range(0, 90, 1)]
        return max(names(per, each.astimezone(zone).date()) for each in minutes)

    assert found.start <= instant < found.end
    assert shown(found.start) == shown(instant) == shown(found.end - MINUTE)
    assert shown(found.start - MINUTE) < shown(instant) < shown(found.end)
