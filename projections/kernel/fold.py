"""Putting a batch's records, timers and memberships to the model, each at its place.

Guarantee: their order is that of the log and of logical time alone, however records are batched.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from contracts.definitions.catalogue import Snapshot
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.errors import MembershipError, TooManyFiringsError
from projections.kernel.joins import Joining
from projections.kernel.outbox import Outputs
from projections.kernel.plan import Plan
from projections.kernel.projection import (
    Asking,
    Effect,
    Firing,
    Joined,
    Moment,
    Projection,
    Step,
    Timed,
)
from projections.kernel.timers import SYSTEM_CLOCK, Armed, Timer, Timers

W = TypeVar("W")


class Fold(Generic[W]):
    """One batch on its way through the model.

    Args:
        old: where the partition stood before the batch.
        firings_max: more timers than these are for other transactions.
    """

    def __init__(
        self,
        projection: Projection[W],
        working: W,
        *,
        timers: Timers,
        outputs: Outputs,
        snapshot: Callable[[str, int], Snapshot],
        old: Checkpoint,
        plan: Plan,
        firings_max: int,
    ) -> None:
        self._projection = projection
        self._working = working
        self._timers = timers
        self._outputs = outputs
        self._snapshot = snapshot
        self._old = old
        self._firings_max = firings_max
        self._fired = 0
        self._is_full = False
        self._sets_clock = False
        self._reading = plan.reading
        self._horizons = plan.horizons
        self._joining = deque(plan.joining)
        self._asked_from = plan.asked_from
        self._sequences = dict(old.progress.joined_sequences)
        self._joined_offset = old.progress.joined_offset
        self._applied_offset = old.next_offset - 1
        self._place = old.next_offset
        self._clocks = {**old.progress.clocks, SYSTEM_CLOCK: old.logical_time}

    def run(self, steps: Sequence[Step | None]) -> None:
        """Apply the steps of the reading's records, and what is due before, between and after.

        Args:
            steps: one for each decoded record, None where it sets a test clock.

        Raises:
            TooManyFiringsError: more timers fire than one transaction takes.
        """
        timers, apply, working = self._timers, self._projection.apply, self._working
        for decoded, step in zip(self._reading.decoded, steps, strict=True):
            if self._joining or timers.soonest <= decoded.time:
                self._pass(SYSTEM_CLOCK, decoded.time, decoded.offset)
            self._clocks[SYSTEM_CLOCK] = decoded.time
            self._applied_offset = self._place = decoded.offset
            self._sets_clock = step is None
            if step is not None:
                self._take(step, apply(working, step))
            if decoded.at is not decoded.time:  # the workspace is on a test clock
                self._pass(decoded.record.workspace, decoded.at, decoded.offset)
                self._clocks[decoded.record.workspace] = decoded.at
        after = self._reading.checkpoint
        if self._joining or timers.soonest <= after.logical_time:
            self._pass(SYSTEM_CLOCK, after.logical_time, after.next_offset)
        if after.is_partway and not self._is_full:
            self._clocks[SYSTEM_CLOCK] = after.logical_time
            self._applied_offset = self._old.next_offset  # it set the clock: its stamp is in force
            for workspace, at in after.progress.clocks.items():
                self._pass(workspace, at, after.next_offset)

    def checkpoint(self) -> Checkpoint:
        """Say where the partition stands after all that was applied."""
        after = self._reading.checkpoint
        progress = msgspec.structs.replace(
            after.progress,
            asked_from=self._asked_from,
            joined_offset=self._joined_offset,
            joined_sequences=self._sequences,
        )
        if self._is_full:
            clocks = dict(self._clocks)
            at = clocks.pop(SYSTEM_CLOCK)
            progress = msgspec.structs.replace(progress, clocks=clocks)
            return msgspec.structs.replace(after, logical_time=at, progress=progress)
        return msgspec.structs.replace(after, progress=progress)

    def _pass(self, clock: str, until: datetime, place: int) -> None:
        """Let a clock pass an instant before a record: timers and memberships, each in its turn."""
        while not self._is_full:
            joining = self._next_joining(clock, until, place)
            now = self._clocks.get(clock, until)
            armed = self._timers.peek(clock, until, self._horizons.get(clock), now=now)
            if joining is not None and (armed is None or self._precedes(joining, armed, now)):
                self._join(self._joining.popleft())
            elif armed is None:
                return
            elif self._fired < self._firings_max:
                self._fire(clock, armed, now)
            elif not self._reading.checkpoint.is_partway:
                is_set_off = self._applied_offset == self._place and not self._sets_clock
                raise TooManyFiringsError(self._place_of(armed, now), is_set_off=is_set_off)
            else:
                self._is_full = True

    def _fire(self, clock: str, armed: Armed, now: datetime) -> None:
        assert isinstance(self._projection, Timed), "who sets timers can fire them"
        self._timers.take(armed)
        self._fired += 1
        self._place = self._place_of(armed, now)
        self._clocks[clock] = at = max(armed.due, now)
        workspace = armed.timer.workspace
        revision = self._revision(workspace)
        firing = Firing(
            partition=self._old.partition,
            offset=self._place,
            at=at,
            record=armed.record(revision),
            snapshot=self._snapshot(workspace, revision),
            timer=armed.timer,
        )
        self._take(firing, self._projection.fire(self._working, firing))
        self._pass_what_was_set(clock, workspace)

    def _pass_what_was_set(self, clock: str, workspace: str) -> None:
        """Fire what a moment of another clock set, where the workspace's test clock passed it."""
        if clock == SYSTEM_CLOCK and workspace in self._clocks:
            self._pass(workspace, self._clocks[workspace], self._place)

    def _place_of(self, armed: Armed, now: datetime) -> int:
        """Find the record before which a timer fires, or after which if that set it late."""
        if armed.clock != SYSTEM_CLOCK or armed.due <= now:
            return self._place
        return self._reached(armed.due)

    def _clock(self, workspace: str) -> str:
        return workspace if workspace in self._clocks else SYSTEM_CLOCK

    def _next_joining(self, clock: str, until: datetime, place: int) -> Joining | None:
        """Name the next membership if it comes before an instant of a clock at a record."""
        if not self._joining:
            return None
        joining = self._joining[0]
        told, is_set = joining.change.place, joining.record.workspace in self._clocks
        comes = (told.offset, told.by != "time", is_set, joining.at)
        return joining if comes <= (place, False, clock != SYSTEM_CLOCK, until) else None

    def _precedes(self, joining: Joining, armed: Armed, now: datetime) -> bool:
        """Whether a membership comes before a timer: at one instant it does."""
        told, place = joining.change.place, self._place_of(armed, now)
        is_here = told.offset == place and told.by == "time"
        return told.offset < place or (is_here and joining.at <= max(armed.due, now))

    def _join(self, joining: Joining) -> None:
        self._joined_offset = joining.next_offset
        record, place = joining.record, joining.change.place
        sequence = int(record.sequence) if isinstance(record.sequence, str) else 0
        if sequence <= self._sequences.get(record.source, 0):
            return
        self._sequences[record.source] = sequence
        assert isinstance(self._projection, Asking), "who asks for segments takes memberships"
        assert self._asked_from is not None, "memberships are read where a rule asks"
        clock = self._clock(record.workspace)
        self._place = max(self._place, place.offset)
        self._clocks[clock] = max(self._clocks[clock], joining.at)
        joined = Joined(
            partition=self._old.partition,
            offset=place.offset,
            at=joining.at,
            record=record,
            snapshot=self._snapshot(record.workspace, self._revision(record.workspace)),
            change=joining.change,
            is_late=place.offset < self._asked_from,
        )
        try:
            self._take(joined, self._projection.join(self._working, joined))
        except Exception as error:
            raise MembershipError(place.offset) from error

    def _reached(self, at: datetime) -> int:
        """Find the record at which time reached an instant."""
        times = self._reading.times
        return times[bisect_left(times, at, key=lambda each: each[1])][0]

    def _revision(self, workspace: str) -> int:
        """Find the definitions revision in force where a timer fires."""
        for offset, named, revision in reversed(self._reading.stamps):
            if named == workspace and (offset < self._place or offset <= self._applied_offset):
                return revision
        return self._old.progress.revisions.get(workspace, 0)

    def _take(self, moment: Moment, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Timer):
                self._timers.arm(effect, moment.record, self._clock(effect.workspace))
            else:
                self._outputs.put(effect)
