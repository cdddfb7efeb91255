"""What a rule's limits leave of an award. Pure; counts are what stands in the ledger.

Guarantee: a limit counts the awards of its rule to its customer that stand, by the instants of
their events, in the calendar period that the event falls in. It counts them all, whatever limits
and zone judged them, and one that is reversed no longer.
"""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from contracts.calendars import Per, Period, period_of
from contracts.definitions.loyalty_programs import Limit
from projections.loyalty.entries import Member, Series

PERIODS_MAX = 20_000
"""Periods whose use a partition keeps in memory between batches: about 10 MB."""


class Bound(msgspec.Struct, frozen=True, gc=False):
    """A limit, and the period in which it bounds the awards for an event."""

    limit: Limit
    zone: ZoneInfo
    period: Period


class Used(msgspec.Struct, gc=False):
    """How often a rule has given a customer points in a period, and how many."""

    times: int = 0
    points: int = 0


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A period of a member and a rule whose use is to be added to ``used`` from the ledger."""

    member: Member
    entries: Series
    period: Period
    used: Used


_Calendar = tuple[Per, ZoneInfo]
_Periods = dict[_Calendar, dict[Period, Used]]


def bounds(limits: Sequence[Limit], at: datetime, zone: ZoneInfo) -> tuple[Bound, ...]:
    """Say in which periods limits bound what an event at an instant earns."""
    return tuple(Bound(each, zone, period_of(at, each.per, zone)) for each in limits)


class Uses:
    """What is used of limits: periods stay known between batches, and follow what is posted."""

    def __init__(self) -> None:
        self.wanted: list[Wanted] = []
        """Periods met for the first time since the last ``loaded``."""
        self.known: dict[tuple[Member, str], _Periods] = {}
        """Use by member and rule; while it is empty, nothing has to be told to ``post``."""
        self._count = 0

    def want(self, member: Member, entries: Series, bounded: Sequence[Bound]) -> None:
        """Note which periods an award may need."""
        periods = self.known.setdefault((member, entries.rule), {})
        for bound in bounded:
            used = periods.setdefault((bound.limit.per, bound.zone), {})
            if bound.period not in used:
                fresh = used[bound.period] = Used()
                self.wanted.append(Wanted(member, entries, bound.period, fresh))
                self._count += 1

    def left(self, member: Member, rule: str, bounded: Sequence[Bound], points: int) -> int:
        """How much of an award the limits leave; its periods were wanted before."""
        periods = self.known[member, rule]
        for bound in bounded:
            limit, used = bound.limit, periods[bound.limit.per, bound.zone][bound.period]
            if limit.times is not None and used.times >= limit.times:
                return 0
            if limit.points is not None:
                points = min(points, limit.points - used.points)
        return max(0, points)

    def post(self, member: Member, rule: str, at: datetime, *, times: int, points: int) -> None:
        """Count an award for an event at an instant; below zero, one that is taken back."""
        for (per, zone), periods in self.known.get((member, rule), {}).items():
            used = periods.get(period_of(at, per, zone))
            if used is not None:
                used.times += times
                used.points += points

    def end_batch(self) -> None:
        """Forget everything where it has become much."""
        if self._count > PERIODS_MAX:
            self.known.clear()
            self._count = 0
