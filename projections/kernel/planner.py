"""Deciding what one transaction takes, with what Postgres and the joined topic know of it.

Guarantee: as for ``plan``; whoever waits here has no transaction open.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from projections.kernel.checkpoint import Checkpoint
from projections.kernel.dead_letters import read_open
from projections.kernel.errors import InvalidRecordError
from projections.kernel.joins import Covered, Joining, Joins
from projections.kernel.merging import Merges, taken_alone
from projections.kernel.plan import (
    AskedRevisions,
    Plan,
    Stating,
    ahead_of,
    clocks_moved,
    cut,
    first_named,
    standing_at,
)
from projections.kernel.projection import (
    Asking,
    Definitions,
    Feeding,
    Projection,
    Step,
    Timed,
)
from projections.kernel.records import LetterPlace, Reading, read
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

    async def plan(
        self,
        old: Checkpoint,
        records: Sequence[Incoming],
        timers_max: int,
        *,
        is_ahead: bool = False,
    ) -> Plan:
        """Decide what one transaction takes, and read the timers and memberships in it.

        Args:
            is_ahead: it takes no record, only what comes before the first one.
        """
        reading = await read_open(self._session, self._name, old, records)
        count = taken_alone(reading, old.next_offset)
        if count is not None:
            records = records[:count]
            reading = await read_open(self._session, self._name, old, records)
            reading = await self._merges.ready(reading)
        for workspace, revision in reading.checkpoint.progress.revisions.items():
            await self._definitions.wait_for(workspace, revision)
        stating, stop = self._stating(old, reading)
        joining, last, asked_from = (), None, None
        if self._asked is not None:
            asks, until_offset = self._asked.of(old, reading, self._definitions.catalogue)
            stop = min(stop, until_offset)
            if asks:
                covered = await self._covered(old, stop - 1)
                stop, joining, last = covered.end, covered.joining, covered.last
                before = old.progress.asked_from
                asked_from = old.next_offset if before is None else before
        if old.next_offset < stop < reading.checkpoint.next_offset:
            records = records[: stop - old.next_offset]
            reading = read(old, records, reading.letters)
        if is_ahead or stating is not None:
            reading = ahead_of(old, records, reading)
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
        if stating is not None and not any(due.values()) and not _any_ahead(joining, old):
            self._timers.settle()
            return Plan(reading=standing_at(old), stating=stating, asked_from=asked_from)
        return Plan(
            reading=reading,
            horizons=horizons,
            due=[each for waiting in due.values() for each in waiting],
            joining=joining,
            asked_from=asked_from,
        )

    def _stating(self, old: Checkpoint, reading: Reading) -> tuple[Stating | None, int]:
        """Find what the first record first names; else answer up to where no record does."""
        end = reading.checkpoint.next_offset
        if self._feeding is None or not self._live:
            return None, end
        named = first_named(self._feeding, old, reading, self._definitions.catalogue)
        if named is None:
            return None, end
        stating, offset = named
        return (stating, end) if offset == old.next_offset else (None, offset)

    async def _covered(self, old: Checkpoint, last: int) -> Covered:
        assert self.joins is not None, "who asks for segments can read memberships"
        return await self.joins.cover(self._session, old, last)

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


def _any_ahead(joining: Sequence[Joining], old: Checkpoint) -> bool:
    """Whether a membership comes before the next record is applied."""
    if not joining:
        return False
    place = joining[0].change.place
    return (place.offset, place.by != "time") <= (old.next_offset, False)


async def load(
    projection: Projection[W],
    session: Session,
    working: W,
    steps: Sequence[Step | None],
    plan: Plan,
) -> None:
    """Read the rows that what a transaction takes may touch."""
    if plan.due:
        assert isinstance(projection, Timed), "who sets timers can fire them"
        await projection.load_due(session, working, [each.timer for each in plan.due])
    if plan.joining:
        assert isinstance(projection, Asking), "who asks for segments takes memberships"
        await projection.load_joining(session, working, [each.change for each in plan.joining])
    await projection.load(session, working, [step for step in steps if step is not None])
