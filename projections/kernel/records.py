"""Records of ``customer.events`` as a processor reads them: decoded, each at its place.

Guarantee: what stands twice (a relay was killed between append and acknowledgement) is passed over
by its source's sequence; what is of a type that no projection knows yet is passed over too, and so
is what redrives a dead letter of another projection, or one that does not stand open. All of it
still moves the checkpoint.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET

from contracts import codec
from contracts.clocks import CLOCK_ADVANCED, ClockAdvanced
from contracts.cloudevent import CloudEvent
from contracts.events import (
    CUSTOM_EVENT,
    EVENT_WITHDRAWN,
    PROFILE_CHANGED,
    CustomEvent,
    EventData,
    EventWithdrawn,
    ProfileChanged,
)
from contracts.identifiers import FactKey, derived_id, key_of_event_id
from contracts.internal_events import INTERNAL_KINDS, InternalEvent
from contracts.merges import CUSTOMER_MERGED, CustomerMerged
from contracts.places import parse_position
from contracts.redrives import DEAD_LETTER_DISCARDED, DeadLetterDiscarded
from contracts.requests import (
    ADJUST_REQUESTED,
    JOIN_REQUESTED,
    AdjustRequested,
    JoinRequested,
)
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.errors import InvalidRecordError
from services.runtime.kafka.consumer import Incoming

T = TypeVar("T")

RecordData = EventData | ClockAdvanced | CustomerMerged
"""What a record that concerns projections says; only ``EventData`` is put to models."""

_internal: msgspec.json.Decoder[RecordData] = codec.decoder(InternalEvent)
_merged: msgspec.json.Decoder[RecordData] = codec.decoder(CustomerMerged)
_decoders: dict[str, msgspec.json.Decoder[RecordData]] = {
    **dict.fromkeys(INTERNAL_KINDS, _internal),
    CLOCK_ADVANCED: codec.decoder(ClockAdvanced),
    CUSTOMER_MERGED: _merged,
    CUSTOM_EVENT: codec.decoder(CustomEvent),
    PROFILE_CHANGED: codec.decoder(ProfileChanged),
    EVENT_WITHDRAWN: codec.decoder(EventWithdrawn),
    ADJUST_REQUESTED: codec.decoder(AdjustRequested),
    JOIN_REQUESTED: codec.decoder(JoinRequested),
}
_discarded = codec.decoder(DeadLetterDiscarded)


FactPlace = tuple[str, str, FactKey]
"""Workspace, customer id, key of the fact."""


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A record that concerns projections, at its place.

    ``time`` is the partition's logical time there, ``at`` that of the record's workspace, which a
    test clock may set apart. ``fact`` says which stored fact it is about; None where its fact can
    have no other version.
    """

    offset: int
    time: datetime
    at: datetime
    revision: int
    record: CloudEvent
    data: RecordData
    fact: FactPlace | None


LetterPlace = tuple[int, str]
"""Where a dead letter stands in its partition: offset, and the timer's id if it was one."""


class Ending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that ends a dead letter of its own partition; ``offset`` is the record's."""

    offset: int
    letter: LetterPlace
    state: Literal["redriven", "discarded"]


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """The projection that reads, and which of its dead letters are known to stand open."""

    projection: str
    standing: frozenset[LetterPlace] = frozenset()


NOBODYS = Letters(projection="")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as read: what concerns projections, and where the checkpoint stands after it.

    ``times`` has the offsets where logical time moved and to what, ``stamps`` those where a
    workspace's definitions did, ``merge`` is the first merge of customers. ``asked`` are the
    records that would end a dead letter of this projection, ``ended`` those of them that do, since
    it stands open in ``letters``.
    """

    checkpoint: Checkpoint
    decoded: list[Decoded]
    times: list[tuple[int, datetime]]
    stamps: list[tuple[int, str, int]]
    merge: Decoded | None = None
    letters: Letters = NOBODYS
    asked: Sequence[Ending] = ()
    ended: Sequence[Ending] = ()


def read(old: Checkpoint, records: Sequence[Incoming], letters: Letters) -> Reading:
    """Decode a batch, passing over what stands twice and what is none of a projection's concern."""
    progress = old.progress
    sources, revisions = dict(progress.sources), dict(progress.revisions)
    clocks = dict(progress.clocks)
    time, last_id, appended_at_ms = old.logical_time, old.record_id, -1
    decoded: list[Decoded] = []
    times: list[tuple[int, datetime]] = []
    stamps: list[tuple[int, str, int]] = []
    merge: Decoded | None = None
    asked: list[Ending] = []
    ended: dict[LetterPlace, Ending] = {}
    for incoming in records:
        record = _decode(incoming.value)
        if incoming.appended_at_ms != appended_at_ms:
            appended_at_ms = incoming.appended_at_ms
            if incoming.appended_at > time:
                time = incoming.appended_at
                times.append((incoming.offset, time))
        last_id = record.id
        revision = revisions.get(record.workspace, 0)
        if record.definitionsrevision > revision:
            revision = revisions[record.workspace] = record.definitionsrevision
            stamps.append((incoming.offset, record.workspace, revision))
        if record.sequence is not UNSET and _stands_twice(record, sources):
            continue
        if record.redrivefor is not UNSET:
            ending = _ending(record, incoming, letters.projection)
            asked += [] if ending is None else [ending]
            if ending is None or not _ends(ending, letters, ended):
                continue
        decoder = _decoders.get(record.type)
        if decoder is not None:
            event = _decode_data(decoder, record)
            at = clocks.get(record.workspace, time) if clocks else time
            if isinstance(event, ClockAdvanced):
                at = clocks[record.workspace] = max(
                    clocks.get(record.workspace, event.to), event.to
                )
            fact = _fact_of(record, event)
            decoded.append(Decoded(incoming.offset, time, at, revision, record, event, fact))
            merge = decoded[-1] if merge is None and decoder is _merged else merge
    after = msgspec.structs.replace(
        old,
        next_offset=records[-1].offset + 1,
        record_id=last_id,
        logical_time=time,
        is_partway=False,
        progress=msgspec.structs.replace(
            progress, sources=sources, revisions=revisions, clocks=clocks
        ),
    )
    return Reading(
        checkpoint=after,
        decoded=decoded,
        times=times,
        stamps=stamps,
        merge=merge,
        letters=letters,
        asked=asked,
        ended=[*ended.values()],
    )


def _ends(ending: Ending, letters: Letters, ended: dict[LetterPlace, Ending]) -> bool:
    """Whether its letter stands open at this record; notes that it does so no more."""
    if ending.letter not in letters.standing or ending.letter in ended:
        return False
    ended[ending.letter] = ending
    return True


def ending_in(incoming: Incoming, projection: str) -> Ending | None:
    """Find out whether a record would end a dead letter of this projection, and which."""
    try:
        return _ending(_decode(incoming.value), incoming, projection)
    except InvalidRecordError:
        return None


def _ending(record: CloudEvent, incoming: Incoming, projection: str) -> Ending | None:
    if record.redrivefor != projection:
        return None
    try:
        position = parse_position(record.redriveof if isinstance(record.redriveof, str) else "")
    except ValueError as error:
        raise InvalidRecordError("redriveof is no position", "") from error
    if position.topic != CUSTOMER_EVENTS or position.partition != incoming.partition:
        raise InvalidRecordError("redriveof is not of this partition", str(position))
    if record.type != DEAD_LETTER_DISCARDED:
        letter = position.offset, ""
        return Ending(offset=incoming.offset, letter=letter, state="redriven")
    letter = position.offset, _decode_data(_discarded, record).timer
    return Ending(offset=incoming.offset, letter=letter, state="discarded")


def _stands_twice(record: CloudEvent, sources: dict[str, int]) -> bool:
    """Whether a record of this sequence was read already; notes the sequence if not."""
    sequence = int(record.sequence) if isinstance(record.sequence, str) else 0
    if sequence <= sources.get(record.source, 0):
        return True
    sources[record.source] = sequence
    return False


def _fact_of(record: CloudEvent, event: RecordData) -> FactPlace | None:
    match event:
        case CustomEvent():
            if event.identified is None:
                return None
            return record.workspace, record.subject, key_of_event_id(event.event_id)
        case EventWithdrawn():
            return record.workspace, record.subject, key_of_event_id(event.event_id)
        case ProfileChanged() | AdjustRequested() | JoinRequested() | InternalEvent():
            return None
        case ClockAdvanced() | CustomerMerged():
            return None


def _decode(value: bytes) -> CloudEvent:
    try:
        return codec.decode_record(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecordError("not a CloudEvent", str(error)) from error


def _decode_data(decoder: msgspec.json.Decoder[T], record: CloudEvent) -> T:
    try:
        return decoder.decode(record.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecordError(f"not a {record.type}", str(error)) from error


def record_id(incoming: Incoming) -> str:
    """Name a record as the checkpoint remembers it: its id, or a digest where it has none."""
    try:
        return codec.decode_record(incoming.value).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return derived_id("undecodable_", incoming.value.hex())
