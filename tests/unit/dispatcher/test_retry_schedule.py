"""The schedule of retries, as laws over every step, jitter and Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.retry_schedule import (
    EndpointGone,
    Exhausted,
    Succeeded,
    TryAgain,
    Verdict,
    judge,
    retry_after_seconds,
)

SCHEDULE = (0, 5, 300, 1800, 7200, 18000, 36000, 36000)
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
shares = st.floats(min_value=0, max_value=1, exclude_max=True)


def _judge(
    attempts: int = 1,
    *,
    status: int | None = 500,
    asked: float | None = None,
    randomness: float = 0.5,
) -> Verdict:
    return judge(
        SCHEDULE,
        attempts_made=attempts,
        status=status,
        retry_after_seconds=asked,
        randomness=randomness,
    )


@given(shares, st.integers(1, len(SCHEDULE) - 1), st.sampled_from([None, 302, 400, 404, 429, 503]))
def test_a_failure_waits_its_step_within_a_fifth(
    randomness: float, attempts: int, status: int | None
) -> None:
    verdict = _judge(attempts, status=status, randomness=randomness)

    assert isinstance(verdict, TryAgain)
    assert 0.8 * SCHEDULE[attempts] <= verdict.wait_seconds <= 1.2 * SCHEDULE[attempts]


@given(shares, st.integers(1, len(SCHEDULE) - 1), st.floats(0, 1e6))
def test_retry_after_is_honoured_between_one_and_two_steps(
    randomness: float, attempts: int, asked: float
) -> None:
    step = SCHEDULE[attempts]

    verdict = _judge(attempts, status=503, asked=asked, randomness=randomness)

    assert isinstance(verdict, TryAgain)
    assert step <= verdict.wait_seconds <= 2 * step
    assert verdict.wait_seconds >= min(asked, 2 * step)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_success(status: int) -> None:
    assert _judge(status=status) == Succeeded()


def test_410_silences_the_endpoint() -> None:
    assert _judge(status=410) == EndpointGone()


def test_the_last_attempt_exhausts_and_one_before_does_not() -> None:
    assert _judge(len(SCHEDULE)) == Exhausted()
    assert isinstance(_judge(len(SCHEDULE) - 1), TryAgain)


def test_the_last_attempt_may_succeed() -> None:
    assert _judge(len(SCHEDULE), status=200) == Succeeded()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Sat, 21 Nov 2026 09:31:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("9" * 400, None),
        ("", None),
        ("Sat, 99 Nov 2026 09:31:30 GMT", None),
    ],
)
def test_retry_after_reads_seconds_and_dates_and_passes_over_the_rest(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(header, NOW) == seconds
