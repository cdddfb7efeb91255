"""The rate of an endpoint, as laws over any sequence of requests for slots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.rate import BURST_SECONDS, moved, slots

START = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@given(
    st.floats(0.01, 10_000),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 200)), min_size=1, max_size=40),
)
def test_never_more_than_the_rate_and_a_burst_are_given(
    rate: float, requests: list[tuple[float, int]]
) -> None:
    now, slot_at, given_count = START, None, 0

    for pause, wanted in requests:
        now += timedelta(seconds=pause)
        free = slots(slot_at, now, rate=rate, wanted=wanted)
        assert free.count <= wanted
        if free.count:
            slot_at = moved(slot_at, now, rate=rate, started=free.count)
            given_count += free.count

    seconds = (now - START).total_seconds()
    assert given_count <= rate * seconds + max(1.0, rate * BURST_SECONDS) + 1e-3 * len(requests)


@given(st.floats(0.01, 10_000), st.integers(1, 1_000))
def test_after_the_wait_there_is_a_slot(rate: float, wanted: int) -> None:
    first = slots(None, START, rate=rate, wanted=wanted)
    slot_at = moved(None, START, rate=rate, started=first.count)
    again = slots(slot_at, START, rate=rate, wanted=1)

    later = START + timedelta(seconds=again.wait_seconds) + timedelta(microseconds=2)

    assert slots(slot_at, later, rate=rate, wanted=1).count == 1


def test_an_idle_endpoint_gathers_no_more_than_a_burst() -> None:
    slot_at = moved(None, START, rate=100, started=1)

    free = slots(slot_at, START + timedelta(days=1), rate=100, wanted=1_000)

    assert free.count == 10
