"""What one transaction takes: which records, and of timers and memberships before them how many.

Guarantee: nothing is applied before what comes before it by place and instant, though only a part
of that was read; where a transaction ends leaves no trace in the rows.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from contracts.clocks import ClockAdvanced
from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Catalogue, Snapshot
from contracts.identifiers import derived_id
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.joins import Joining
from projections.kernel.projection import Asking, Feeding, Moment
from projections.kernel.records import Reading, read
from projections.kernel.timers import SYSTEM_CLOCK, Armed, Order
from services.runtime.kafka.consumer import Incoming

W = TypeVar("W")


class Stating(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of kinds of outcomes that a definition names for the first time is to be told."""

    workspace: str
    revision: int
    kinds: frozenset[str]

    def moment(self, old: Checkpoint, snapshot: Snapshot) -> Moment:
        """Say where that happens: before the next record, caused by the definition."""
        at = old.progress.clocks.get(self.workspace, old.logical_time)
        record = CloudEvent(
            id=derived_id("named_", self.workspace, str(self.revision), str(old.partition)),
            source="definitions",
            type="definition.named",
            subject="",
            time=at,
            workspace=self.workspace,
            recordedtime=at,
            definitionsrevision=self.revision,
            data=msgspec.Raw(b"{}"),
        )
        return Moment(
            partition=old.partition,
            offset=old.next_offset,
            at=at,
            record=record,
            snapshot=snapshot,
        )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction's worth.

    ``horizons`` bounds the timers that may fire, by clock, where only a part of those due was
    read. ``due`` were read, ``joining`` are the memberships whose places come before its end.
    ``stating`` is all it does, where that is something. ``asked_from`` is the record from which on
    a rule asks for a segment.
    """

    reading: Reading
    horizons: Mapping[str, Order] = {}
    due: Sequence[Armed] = ()
    joining: Sequence[Joining] = ()
    stating: Stating | None = None
    asked_from: int | None = None


KNOWN_MAX = 1_000
"""Revisions of which it is known whether a rule asks."""


class AskedRevisions(Generic[W]):
    """Knows at which revisions of the definitions a rule asks for a segment."""

    def __init__(self, projection: Asking[W]) -> None:
        self._projection = projection
        self._known: dict[tuple[str, int], bool] = {}

    def of(self, old: Checkpoint, reading: Reading, catalogue: Catalogue) -> tuple[bool, int]:
        """Say whether a rule asks at the first record of a batch, and until which that stays so."""
        revisions = dict(old.progress.revisions)
        asks: bool | None = None
        for offset, workspace, revision in reading.stamps:
            if offset > old.next_offset and asks is None:
                asks = self._ask(revisions, catalogue)
            revisions[workspace] = revision
            if asks is not None and self._ask(revisions, catalogue) != asks:
                return asks, offset
        if asks is None:
            asks = self._ask(revisions, catalogue)
        return asks, reading.checkpoint.next_offset

    def _ask(self, revisions: Mapping[str, int], catalogue: Catalogue) -> bool:
        return any(self._asks(catalogue, *each) for each in revisions.items())

    def _asks(self, catalogue: Catalogue, workspace: str, revision: int) -> bool:
        known = self._known.get((workspace, revision))
        if known is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            known = self._projection.asks(catalogue.at(workspace, revision))
            self._known[workspace, revision] = known
        return known


def first_named(
    projection: Feeding[W], old: Checkpoint, reading: Reading, catalogue: Catalogue
) -> tuple[Stating, int] | None:
    """Find the first record of a batch at which kinds are named that were not, and its offset."""
    revisions = dict(old.progress.revisions)
    for offset, workspace, revision in reading.stamps:
        before = projection.named(catalogue.at(workspace, revisions.get(workspace, 0)))
        kinds = projection.named(catalogue.at(workspace, revision)) - before
        if kinds and old.progress.stated.get(workspace, 0) < revision:
            return Stating(workspace=workspace, revision=revision, kinds=kinds), offset
        revisions[workspace] = revision
    return None


def clocks_moved(old: Checkpoint, new: Checkpoint) -> dict[str, datetime]:
    """Say which clocks a batch moves, and to what instant."""
    known = old.progress.clocks
    moved = {
        workspace: at
        for workspace, at in new.progress.clocks.items()
        if known.get(workspace) != at or old.is_partway
    }
    return {SYSTEM_CLOCK: new.logical_time, **moved}


def before(at: datetime) -> Order:
    """A horizon that lets nothing fire that is due at an instant or later."""
    return at, "", b"", b""


def cut(
    old: Checkpoint,
    records: Sequence[Incoming],
    reading: Reading,
    horizons: Mapping[str, Order],
    last: Joining | None,
) -> tuple[Reading, Mapping[str, Order]]:
    """Shorten a batch to what can be applied with the timers and memberships that were read.

    Args:
        horizons: by clock, the last timer that may fire: those after it were not all read.
        last: the last membership read, where others come before the first record too.

    Returns:
        The records before the first that needs more. Where that is the very first, no record, and
        the checkpoint ``is_partway`` at what bounds it.
    """
    first = records[0].offset
    if last is not None and last.change.place.offset < first:
        nothing = {clock: before(at) for clock, at in old.progress.clocks.items()}
        nothing[SYSTEM_CLOCK] = before(old.logical_time)
        return standing_at(old), nothing
    bounds = dict(horizons)
    ends = {clock: _needs(reading, clock, order[0], old) for clock, order in bounds.items()}
    if last is not None:
        workspace = last.record.workspace
        clock = workspace if workspace in old.progress.clocks else SYSTEM_CLOCK
        bounds[clock] = min(bounds.get(clock, before(last.at)), before(last.at))
        ends[clock] = first
    clock = min(ends, key=lambda each: (ends[each], each))
    if ends[clock] > first:
        return read(old, records[: ends[clock] - first], reading.letters), {}
    at, clocks = bounds[clock][0], old.progress.clocks
    if clock == SYSTEM_CLOCK:
        return _partway(old, max(old.logical_time, at), clocks, first), bounds
    setting = read(old, records[:1], reading.letters)
    clocks = {**clocks, clock: max(at, clocks.get(clock, at))}
    partway = _partway(old, setting.checkpoint.logical_time, clocks, first)
    return msgspec.structs.replace(partway, stamps=setting.stamps), bounds


def ahead_of(old: Checkpoint, records: Sequence[Incoming], reading: Reading) -> Reading:
    """A batch of all that comes before its first record is applied, without that record."""
    first = read(old, records[:1], reading.letters)
    after = first.checkpoint
    partway = _partway(old, after.logical_time, after.progress.clocks, records[0].offset)
    return msgspec.structs.replace(partway, stamps=first.stamps)


def standing_at(old: Checkpoint) -> Reading:
    """A batch of nothing, before the next record and with no time passing."""
    return _partway(old, old.logical_time, old.progress.clocks, old.next_offset)


def _partway(old: Checkpoint, at: datetime, clocks: Mapping[str, datetime], first: int) -> Reading:
    checkpoint = msgspec.structs.replace(
        old,
        logical_time=at,
        is_partway=True,
        progress=msgspec.structs.replace(old.progress, clocks=dict(clocks)),
    )
    return Reading(checkpoint=checkpoint, decoded=[], times=[(first, at)], stamps=[])


def _needs(reading: Reading, clock: str, due: datetime, old: Checkpoint) -> int:
    """Find the first record before which all timers of an instant must have fired."""
    if due <= old.logical_time and clock == SYSTEM_CLOCK:
        return old.next_offset
    if clock == SYSTEM_CLOCK:
        return next((offset for offset, at in reading.times if at >= due), old.next_offset)
    for decoded in reading.decoded:
        is_set = isinstance(decoded.data, ClockAdvanced) and decoded.record.workspace == clock
        if is_set and decoded.at >= due:
            return decoded.offset
    return old.next_offset
