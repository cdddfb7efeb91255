"""Putting a batch's records and timers to the model, each at its place.

Guarantee: their order is that of the log and of logical time alone, however records are batched.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from contracts.definitions.catalogue import Snapshot
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.outbox import Outputs
from projections.kernel.projection import Effect, Firing, Moment, Projection, Step, Timed
from projections.kernel.records import Reading
from projections.kernel.timers import SYSTEM_CLOCK, Armed, Order, Timer, Timers

W = TypeVar("W")


class Fold(Generic[W]):
    """One batch on its way through the model.

    Args:
        old: where the partition stood before the batch.
        horizon: bounds the timers that may fire, where only a part of those due was read.
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
        reading: Reading,
        horizon: Order | None,
    ) -> None:
        self._projection = projection
        self._working = working
        self._timers = timers
        self._outputs = outputs
        self._snapshot = snapshot
        self._old = old
        self._reading = reading
        self._horizon = horizon
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
            for workspace, at in after.progress.clocks.items():
                self._fire(workspace, at)

    def _fire(self, clock: str, until: datetime) -> None:
        while (armed := self._timers.take(clock, until, self._horizon)) is not None:
            assert isinstance(self._projection, Timed), "who sets timers can fire them"
            firing = self._firing(clock, armed)
            self._clocks[clock] = firing.at
            self._take(firing, self._projection.fire(self._working, firing))

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
                clock = effect.workspace if effect.workspace in self._clocks else SYSTEM_CLOCK
                self._timers.arm(effect, moment.record, clock)
            else:
                self._outputs.put(effect)
