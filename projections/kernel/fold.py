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
from projections.kernel.errors import MembershipError
from projections.kernel.joins import Joining
from projections.kernel.outbox import Outputs
from projections.kernel.plan import Plan
from projections.kernel.projection import (
    Asking,
    Effect,
    Feeding,
    Firing,
    Joined,
    Moment,
    Output,
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
        feeding: Feeding[W] | None = None,
    ) -> None:
        self._projection = projection
        self._working = working
        self._timers = timers
        self._outputs = outputs
        self._snapshot = snapshot
        self._old = old
        self._feeding = feeding
        self._reading = plan.reading
        self._horizons = plan.horizons
        self._joining = deque(plan.joining)
        self._sequences = dict(old.progress.joined_sequences)
        self._joined_offset = old.progress.joined_offset
        self._applied_offset = old.next_offset - 1
        self._place = old.next_offset
        self._clocks = {**old.progress.clocks, SYSTEM_CLOCK: old.logical_time}

    def run(self, steps: Sequence[Step | None]) -> None:
        """Apply the steps of the reading's records, and what is due before, between and after.

        Args:
            steps: one for each decoded record, None where it sets a test clock.
        """
        timers, apply, working = self._timers, self._projection.apply, self._working
        for decoded, step in zip(self._reading.decoded, steps, strict=True):
            if timers.soonest <= decoded.time:
                self._fire(SYSTEM_CLOCK, decoded.time)
            if self._joining:
                self._join(SYSTEM_CLOCK, decoded.offset, decoded.time)
            self._clocks[SYSTEM_CLOCK] = decoded.time
            self._applied_offset = self._place = decoded.offset
            if step is not None:
                self._take(step, apply(working, step))
            if decoded.at is not decoded.time:  # the workspace is on a test clock
                self._fire(decoded.record.workspace, decoded.at)
                self._clocks[decoded.record.workspace] = decoded.at
        after = self._reading.checkpoint
        if timers.soonest <= after.logical_time:
            self._fire(SYSTEM_CLOCK, after.logical_time)
        if after.is_partway:
            self._applied_offset = self._old.next_offset  # it set the clock: its stamp is in force
            for workspace, at in after.progress.clocks.items():
                self._fire(workspace, at)
        while self._joining and self._is_before_the_end(self._joining[0]):
            self._join_one(self._joining.popleft())

    def checkpoint(self) -> Checkpoint:
        """Say where the partition stands after all that was applied."""
        after = self._reading.checkpoint
        if self._joined_offset == after.progress.joined_offset:
            return after
        progress = msgspec.structs.replace(
            after.progress,
            joined_offset=self._joined_offset,
            joined_sequences=self._sequences,
        )
        return msgspec.structs.replace(after, progress=progress)

    def _fire(self, clock: str, until: datetime) -> None:
        while (armed := self._timers.take(clock, until, self._horizons.get(clock))) is not None:
            assert isinstance(self._projection, Timed), "who sets timers can fire them"
            firing = self._firing(clock, armed)
            if self._joining:
                self._join(clock, firing.offset, firing.at)
            self._clocks[clock] = firing.at
            self._take(firing, self._projection.fire(self._working, firing))
            if clock == SYSTEM_CLOCK:
                self._fire_what_was_set(armed.timer.workspace)

    def _fire_what_was_set(self, workspace: str) -> None:
        """Fire what a step without a record set, where the workspace's test clock has passed it."""
        if workspace in self._clocks:
            self._fire(workspace, self._clocks[workspace])

    def _firing(self, clock: str, armed: Armed) -> Firing:
        at = max(armed.due, self._clocks.get(clock, armed.due))
        if clock == SYSTEM_CLOCK and at > self._clocks[clock]:
            self._place = self._reached(at)
        workspace = armed.timer.workspace
        revision = self._revision(workspace)
        return Firing(
            partition=self._old.partition,
            offset=self._place,
            at=at,
            record=armed.record(revision),
            snapshot=self._snapshot(workspace, revision),
            timer=armed.timer,
        )

    def _join(self, clock: str, offset: int, until: datetime) -> None:
        """Apply the memberships whose places come before an instant of a clock at a record."""
        while self._joining:
            joining = self._joining[0]
            place, is_set = joining.change.place, joining.record.workspace in self._clocks
            if (place.offset, place.by != "time", is_set, joining.at) > (
                offset,
                False,
                clock != SYSTEM_CLOCK,
                until,
            ):
                return
            self._join_one(self._joining.popleft())

    def _clock(self, workspace: str) -> str:
        return workspace if workspace in self._clocks else SYSTEM_CLOCK

    def _is_before_the_end(self, joining: Joining) -> bool:
        after, place = self._reading.checkpoint, joining.change.place
        if place.offset != after.next_offset:
            return place.offset < after.next_offset
        shown = after.progress.clocks.get(joining.record.workspace, after.logical_time)
        return after.is_partway and place.by == "time" and joining.at <= shown

    def _join_one(self, joining: Joining) -> None:
        self._joined_offset = joining.next_offset
        record, place = joining.record, joining.change.place
        sequence = int(record.sequence) if isinstance(record.sequence, str) else 0
        if sequence <= self._sequences.get(record.source, 0):
            return
        self._sequences[record.source] = sequence
        assert isinstance(self._projection, Asking), "who asks for segments takes memberships"
        joined = Joined(
            partition=self._old.partition,
            offset=place.offset,
            at=joining.at,
            record=record,
            snapshot=self._snapshot(record.workspace, self._revision(record.workspace)),
            change=joining.change,
            is_late=place.offset < self._old.next_offset,
        )
        try:
            self._take(joined, self._projection.join(self._working, joined))
        except Exception as error:
            raise MembershipError(place.offset) from error
        self._fire(self._clock(record.workspace), joining.at)

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
            elif self._feeding is None or self._is_named(effect, moment, self._feeding):
                self._outputs.put(effect)

    def _is_named(self, output: Output, moment: Moment, feeding: Feeding[W]) -> bool:
        """Whether an output is none of the kinds that only come back when somebody names them."""
        return output.type not in feeding.kinds or output.type in feeding.named(moment.snapshot)
