"""Limits of a rule: what they leave, what gives room back, and how uses are found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.calendars import EVER
from contracts.definitions.loyalty_programs import Limit
from contracts.identifiers import FACT_KEY_BYTES, EventId, FactKey
from contracts.versions import Fact
from projections.loyalty.entries import Member, Series, reversal_id
from projections.loyalty.limits import PERIODS_MAX, Uses, bounds
from tests.unit.loyalty.test_model import History, points_of

DAY = timedelta(days=1)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
MEMBER: Member = ("demo", "cust_" + "0a" * 16, "club")
SERIES = Series("club", "spend")


def fact(at: datetime, number: int = 1) -> Fact:
    return Fact(
        key=FactKey(number.to_bytes(FACT_KEY_BYTES)),
        event_id=EventId("event_"),
        event="order",
        ordinal=1,
        occurred_at=at,
        revision=1,
        content=None,
    )


def test_a_points_limit_cuts_an_award_to_what_is_left() -> None:
    history = History(limits=[{"points": 5, "per": "day"}])
    for order in ("one", "two", "three"):
        history.tell(order, 30)

    assert points_of(history.folded().new_entries) == [3, 2]


def test_a_times_limit_stops_a_rule() -> None:
    history = History(limits=[{"times": 2, "per": "day"}])
    for order in ("one", "two", "three"):
        history.tell(order, 30)

    assert points_of(history.folded().new_entries) == [3, 3]


def test_all_limits_of_a_rule_apply() -> None:
    history = History(limits=[{"times": 1, "per": "day"}, {"points": 4, "per": "month"}])
    history.tell("today", 30)
    history.tell("also today", 30)
    history.tell("yesterday", 30, ago=DAY)
    history.tell("last month", 30, ago=5 * DAY)

    assert points_of(history.folded().new_entries) == [3, 1, 3]


def test_an_event_counts_when_it_occurred_however_late_it_comes() -> None:
    history = History(limits=[{"times": 1, "per": "day"}])
    history.tell("yesterday", 30, ago=DAY)
    history.tell("today", 40)
    history.tell("yesterday too", 50, ago=DAY)

    assert points_of(history.folded().new_entries) == [3, 4]


def test_a_refund_is_not_limited_and_gives_no_room_back() -> None:
    history = History(limits=[{"points": 3, "per": "ever"}])
    history.tell("bought", 30)
    history.tell("returned", -50)
    history.tell("bought again", 30)

    assert points_of(history.folded().new_entries) == [3, -5]


def test_room_that_a_correction_frees_serves_later_events_only() -> None:
    history = History(limits=[{"times": 1, "per": "day"}])
    history.tell("one", 30)
    history.tell("too late", 40)
    history.tell("one", 30, deleted=True)
    history.tell("next", 50)

    assert points_of(history.folded().new_entries) == [3, -3, 5]


def test_a_newer_version_meets_the_room_that_the_older_one_had_used() -> None:
    history = History(limits=[{"points": 5, "per": "day"}])
    history.tell("one", 40)
    history.tell("two", 40)
    history.tell("one", 20)
    history.tell("two", 40)

    assert points_of(history.folded().new_entries) == [4, 1, -4, 2, -1, 3]


def test_a_version_that_moves_to_another_day_gives_its_room_back_there() -> None:
    history = History(limits=[{"times": 1, "per": "day"}])
    history.tell("one", 30, ago=DAY)
    history.tell("one", 30)
    history.tell("two", 40)
    history.tell("three", 50, ago=DAY)

    assert points_of(history.folded().new_entries) == [3, -3, 3, 5]


def test_limits_below_what_is_used_leave_nothing() -> None:
    uses = Uses()
    bounded = bounds([Limit(times=None, points=5, per="day")], NOON, UTC_ZONE)
    uses.want(MEMBER, SERIES, bounded)
    uses.post(MEMBER, SERIES.rule, NOON, times=1, points=8)

    assert uses.left(MEMBER, SERIES.rule, bounded, 3) == 0


def test_an_award_counts_in_every_calendar_that_is_known() -> None:
    uses = Uses()
    limit = Limit(times=2, points=None, per="day")
    late = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    here = bounds([limit], late, UTC_ZONE)
    there = bounds([limit], late, ZoneInfo("Europe/Warsaw"))
    for bounded in (here, there):
        uses.want(MEMBER, SERIES, bounded)
    uses.post(MEMBER, SERIES.rule, late - timedelta(hours=1), times=2, points=8)

    assert uses.left(MEMBER, SERIES.rule, here, 3) == 0
    assert uses.left(MEMBER, SERIES.rule, there, 3) == 3


def test_a_period_is_asked_for_once_until_too_many_are_known() -> None:
    uses = Uses()
    limits = [Limit(times=1, points=None, per="day")]

    for number in range(PERIODS_MAX):
        uses.want(MEMBER, SERIES, bounds(limits, NOON - number * DAY, UTC_ZONE))
    uses.end_batch()
    uses.want(MEMBER, SERIES, bounds(limits, NOON, UTC_ZONE))
    asked = len(uses.wanted)
    uses.want(MEMBER, SERIES, bounds(limits, NOON + DAY, UTC_ZONE))
    uses.end_batch()
    uses.want(MEMBER, SERIES, bounds(limits, NOON, UTC_ZONE))

    assert asked == PERIODS_MAX
    assert len(uses.wanted) == PERIODS_MAX + 2


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(-(10**6), 10**6),
    st.integers(1, 10**6),
    st.integers(0, 2**64),
)
def test_ids_of_a_period_are_those_of_its_events_and_of_what_reversed_them(
    start: datetime, after_ms: int, seconds: int, number: int
) -> None:
    start = min(max(start, EVER.start + 2 * DAY * 10), EVER.end - 40 * DAY).replace(microsecond=0)
    end = start + timedelta(seconds=seconds)
    at = start + timedelta(milliseconds=after_ms)

    entry = SERIES.id_of(MEMBER[1], fact(at, number))
    low, high = SERIES.between(start, end)

    assert (low <= entry <= high) == (start <= at < end)
    assert (low <= reversal_id(entry) <= high) == (start <= at < end)


@pytest.mark.parametrize("other", [Series("club", "other"), Series("vip", "spend")])
def test_ids_of_two_rules_are_in_ranges_of_their_own(other: Series) -> None:
    low, high = SERIES.between(EVER.start, EVER.end)

    assert low <= SERIES.id_of(MEMBER[1], fact(NOON)) <= high
    assert not low <= other.id_of(MEMBER[1], fact(NOON)) <= high
