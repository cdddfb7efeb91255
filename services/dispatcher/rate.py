"""Rate of an endpoint, as one instant that all senders share (GCRA): pure.

Guarantee: over any stretch of time an endpoint is given at most ``rate`` attempts a second, plus a
burst of ``BURST_SECONDS`` worth. The instant stands in the endpoint's row, so that several
processes keep one limit together.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

BURST_SECONDS: Final = 0.1
"""Attempts of this long may go at once: fewer wake-ups, and still a smooth stream."""


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """How many attempts may start now, and how long until the next one may."""

    count: int
    wait_seconds: float


def slots(slot_at: datetime | None, now: datetime, *, rate: float, wanted: int) -> Slots:
    """Count the attempts that may start now, at most ``wanted``.

    Args:
        slot_at: when the next attempt would start in an even stream; None before the first.
        now: of the same clock.
        rate: attempts a second, above zero.
        wanted: at least one.
    """
    assert rate > 0, "a rate is above zero"
    assert wanted > 0, "asked for at least one"
    ahead = 0.0 if slot_at is None else (slot_at - now).total_seconds()
    room = max(BURST_SECONDS, 1 / rate) - max(ahead, 0.0)
    free = int(room * rate + 1e-9)
    if free > 0:
        return Slots(count=min(free, wanted), wait_seconds=0.0)
    return Slots(count=0, wait_seconds=1 / rate - room)


def moved(slot_at: datetime | None, now: datetime, *, rate: float, started: int) -> datetime:
    """Return the instant after ``started`` attempts were taken."""
    base = now if slot_at is None else max(slot_at, now)
    return base + timedelta(seconds=started / rate)
