"""When a failed delivery is tried again, and when no more: pure, time and randomness as arguments.

Guarantee: a wait is its step within 20 %; a receiver that asks for more time by Retry-After gets
it, at least the step and at most twice the step. 410 asks for silence: the endpoint is disabled.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

JITTER: Final = 0.2
"""Share by which a wait varies either way, so that endpoints back at once are not hit at once."""
RETRY_AFTER_FACTOR_MAX: Final = 2
"""A receiver may put off the next attempt to at most this many times its step."""
GONE: Final = 410
SUCCESS_MIN, SUCCESS_MAX = 200, 299

Schedule = tuple[int, ...]
"""Seconds before each attempt, counted from the end of the one before it."""


class Succeeded(msgspec.Struct, frozen=True):
    """The receiver took the message."""


class TryAgain(msgspec.Struct, frozen=True):
    """The receiver did not take it; another attempt is due after the wait."""

    wait_seconds: float


class Exhausted(msgspec.Struct, frozen=True):
    """The schedule has no further attempt."""


class EndpointGone(msgspec.Struct, frozen=True):
    """The receiver wants nothing more: its endpoint is disabled."""


Verdict = Succeeded | TryAgain | Exhausted | EndpointGone


def judge(
    schedule: Schedule,
    *,
    attempts_made: int,
    status: int | None,
    retry_after_seconds: float | None,
    randomness: float,
) -> Verdict:
    """Decide what follows from an attempt.

    Args:
        schedule: of the installation (``UPSHOT_WEBHOOK_RETRY_SCHEDULE``).
        attempts_made: this one included, since the delivery was made or redriven.
        status: of the answer; None when there was none. Anything but 2xx is a failure, 3xx too.
        retry_after_seconds: what the answer asked for, from now on.
        randomness: in [0, 1).
    """
    assert attempts_made >= 1, "judged after an attempt"
    assert 0 <= randomness < 1, "randomness is a share"
    if status is not None and SUCCESS_MIN <= status <= SUCCESS_MAX:
        return Succeeded()
    if status == GONE:
        return EndpointGone()
    if attempts_made >= len(schedule):
        return Exhausted()
    step = schedule[attempts_made]
    return TryAgain(_wait(step, retry_after_seconds, randomness))


def first_wait_seconds(schedule: Schedule) -> int:
    """Wait before the first attempt, exact: there is nothing to spread yet."""
    return schedule[0]


def _wait(step: int, asked: float | None, randomness: float) -> float:
    jittered = step * (1 + JITTER * (2 * randomness - 1))
    if asked is None:
        return jittered
    return max(jittered, min(max(asked, step), step * RETRY_AFTER_FACTOR_MAX))


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date; None where it is absent or malformed."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= len("86400000") else None
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
