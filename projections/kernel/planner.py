"""Deciding what one transaction takes, with what Postgres and the joined topic know of it.

Guarantee: as for ``plan``; whoever waits here has no transaction open.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from projections.kernel.checkpoint import Checkpoint
from projections.kernel.dead_letters import read_open
from projections.kernel.errors import InvalidRecordError
from projections.kernel.joins import Joining, Joins
from projections.kernel.merging import Merges, taken_alone
from projections.kernel.plan import (
    AskedRevisions,
    Plan,
    clocks_moved,
    cut,
    first_named,
    standing_at,
)
from projections.kernel.projection import Asking, Definitions, Feeding, Projection
from projections.kernel.records import LetterPlace, read
from projections.kernel.timers import Timers
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session, translated

W = TypeVar("W")


class Planner(Generic[W]):
    """Plans the transactions of one partition."""

    def __init__(
        self,
        projection: Projection[W],
        session: Session,
        definitions: Definitions,
        *,
        timers: Timers,
        merges: Merges,
        joins: Joins | None,
        live: bool,
    ) -> None:
        self._name = projection.name
        self._session = session
        self._definitions = definitions
        self._timers = timers
        self._merges = merges
        self._live = live
        self.joins = joins
        self._asked = AskedRevisions(projection) if isinstance(projection, Asking) else None
        self._feeding = projection if isinstance(projection, Feeding) else None

    async def plan(self, old: Checkpoint, records: Sequence[Incoming], timers_max: int) -> Plan:
        """Decide what one transaction takes, and read the timers and memberships in it."""
        reading = await read_open(self._session, self._name, old, records)
        count = taken_alone(reading, old.next_offset)
        if count is not None:
            records = records[:count]
            reading = await read_open(self._session, self._name, old, records)
            reading = await self._merges.ready(reading)
        for workspace, revision in reading.checkpoint.progress.revisions.items():
            await self._definitions.wait_for(workspace, revision)
        if self._feeding is not None and self._live:
            named = first_named(self._feeding, old, reading, self._definitions.catalogue)
            if named is not None and named[1] == old.next_offset:
                return Plan(reading=standing_at(old), stating=named[0])
            if named is not None:
                records = records[: named[1] - old.next_offset]
                reading = read(old, records, reading.letters)
        joining: list[Joining] = []
        last = None
        if self._asked is not None:
            asks, stop = self._asked.of(old, reading, self._definitions.catalogue)
            if asks:
                assert self.joins is not None, "who asks for segments can read memberships"
                covered = await self.joins.cover(self._session, old, stop - 1)
                stop, joining = covered.end, covered.joining
                last = None if covered.is_whole else joining[-1]
            if old.next_offset < stop < reading.checkpoint.next_offset:
                records = records[: stop - old.next_offset]
                reading = read(old, records, reading.letters)
        until = clocks_moved(old, reading.checkpoint)
        with translated():
            due = await self._timers.load(self._session, until, limit=timers_max)
        horizons = {
            clock: waiting[timers_max - 1].order
            for clock, waiting in due.items()
            if len(waiting) > timers_max or (timers_max == 1 and waiting)
        }
        if horizons or last is not None:
            reading, horizons = cut(old, records, reading, horizons, last)
        return Plan(
            reading=reading,
            horizons=horizons,
            due=[each for waiting in due.values() for each in waiting],
            joining=joining,
        )

    async def place_of_next(self, old: Checkpoint, incoming: Incoming) -> LetterPlace | None:
        """Say as which dead letter what comes next would stand; None where it cannot die."""
        try:
            plan = await self.plan(old, [incoming], timers_max=1)
        except InvalidRecordError:
            return incoming.offset, ""
        finally:
            self._timers.forget()
        if plan.due:
            return incoming.offset, plan.due[0].record(0).id
        reading = plan.reading
        comes_later = reading.checkpoint.is_partway or len(reading.ended) < len(reading.asked)
        return None if comes_later else (incoming.offset, "")
