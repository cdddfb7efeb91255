"""What is stored of each fact at each customer, and the versions a batch makes of it.

Guarantee: within a batch every record meets its fact as the record before it left it, and the rows
written are the last state of each fact.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from struct import Struct
from typing import LiteralString

import msgspec

from contracts.clocks import ClockAdvanced
from contracts.events import CustomEvent, EventWithdrawn, ProfileChanged
from contracts.identifiers import EventId, FactKey, key_of_event_id
from contracts.internal_events import InternalEvent
from contracts.merges import CustomerMerged
from contracts.requests import AdjustRequested, JoinRequested
from contracts.versions import Change, Stored, resolve, withdraw
from projections.kernel import binary
from projections.kernel.records import Decoded, FactPlace
from projections.kernel.tables import Table
from services.runtime.postgres import Session


class _Row(msgspec.Struct, array_like=True, frozen=True):
    workspace: str
    customer: bytes
    fact: bytes
    ordinal: int
    occurred_at: datetime
    counted_at: datetime
    deleted_at: datetime | None
    withdrawn: bool
    revision: int
    offset: int
    content: str | None
    partition: int | None
    origin: bytes | None


FACT_COLUMNS: LiteralString = """
    f.workspace, uuid_send(f.customer), uuid_send(f.fact), f.ordinal, f.occurred_at, f.counted_at,
    f.deleted_at, f.withdrawn, f.revision, f.record_offset, f.content, f.partition,
    uuid_send(f.origins[1])"""
"""What ``fact_of`` reads, of ``facts f``."""
_LOAD: LiteralString = f"""
SELECT {FACT_COLUMNS}
FROM unnest(%s, %s, %s) AS k (workspace, customer, fact)
JOIN facts f USING (workspace, customer, fact)"""  # noqa: S608 - literals
_FACTS = Table(
    "facts",
    "customer uuid, fact uuid, ordinal integer, occurred_at timestamptz, counted_at timestamptz,"
    " withdrawn boolean, revision bigint, record_offset bigint, workspace text,"
    " deleted_at timestamptz, content text",
)
_UPDATE: LiteralString = """
UPDATE facts f SET ordinal = n.ordinal, occurred_at = n.occurred_at, counted_at = n.counted_at,
    deleted_at = n.deleted_at, withdrawn = n.withdrawn, revision = n.revision,
    record_offset = n.record_offset, content = n.content, partition = n.partition
FROM unnest(%s, %s, %s, %s::int[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[],
    %s::bool[], %s, %s, %s::text[], %s::int[])
    AS n (workspace, customer, fact, ordinal, occurred_at, counted_at, deleted_at, withdrawn,
        revision, record_offset, content, partition)
WHERE f.workspace = n.workspace AND f.customer = n.customer AND f.fact = n.fact"""

_COLUMNS = 11
_fixed = Struct(">h i16s i16s ii iq iq i? iq iq".replace(" ", "")).pack
"""Count of columns, then those of fixed width in the order of ``_FACTS``, each after its length."""


class FactsOfBatch:
    """The facts that a batch of one partition is about."""

    def __init__(self, partition: int, *, keeps_content: bool) -> None:
        self._partition = partition
        self._keeps_content = keeps_content
        self._stored: dict[FactPlace, Stored] = {}
        self._existing: set[FactPlace] = set()
        self._changed: dict[FactPlace, Stored] = {}

    async def load(self, session: Session, decoded: Iterable[Decoded]) -> None:
        """Read what is stored of the facts that these records are about, in one statement."""
        wanted = dict.fromkeys(each.fact for each in decoded if each.fact is not None)
        if not wanted:
            return
        for found in await (await session.execute(_LOAD, _keys(wanted))).fetchall():
            place, stored = fact_of(found)
            self._existing.add(place)
            self._stored[place] = stored

    def change(self, decoded: Decoded) -> Change | None:
        """Resolve what a record does to its fact; None where it is about none."""
        event, place = decoded.data, decoded.fact
        stored = None if place is None else self._stored.get(place)
        match event:
            case CustomEvent():
                change = resolve(
                    stored,
                    event,
                    key=key_of_event_id(event.event_id) if place is None else place[2],
                    recorded_at=decoded.record.recordedtime,
                    at=decoded.at,
                    offset=decoded.offset,
                    revision=decoded.revision,
                    keeps_content=self._keeps_content,
                )
            case EventWithdrawn():
                partition = event.last_partition
                change = withdraw(
                    stored,
                    EventId(event.event_id),
                    last_offset=event.last_offset,
                    last_partition=None if partition == self._partition else partition,
                )
            case ProfileChanged() | AdjustRequested() | JoinRequested() | InternalEvent():
                return None
            case ClockAdvanced() | CustomerMerged():
                return None
        if place is not None and change.stored is not None and change.stored is not stored:
            self._stored[place] = self._changed[place] = change.stored
        return change

    async def write(self, session: Session) -> None:
        """Write the last state of each changed fact: new ones are added, others updated, by set."""
        existing = self._existing
        fresh = [_spell(p, s) for p, s in self._changed.items() if p not in existing]
        await _FACTS.add(session, fresh)
        if existing:
            known = [(p, s) for p, s in self._changed.items() if p in existing]
            if known:
                await session.execute(_UPDATE, _columns(known))


def fact_of(found: Sequence[object]) -> tuple[FactPlace, Stored]:
    """Read what is stored of a fact from the columns of ``FACT_COLUMNS``."""
    row = msgspec.convert(tuple(found), _Row)
    stored = Stored(
        ordinal=row.ordinal,
        occurred_at=row.occurred_at,
        counted_at=row.counted_at,
        deleted_at=row.deleted_at,
        withdrawn=row.withdrawn,
        revision=row.revision,
        offset=row.offset,
        content=None if row.content is None else row.content.encode(),
        partition=row.partition,
        origin=None if row.origin is None else binary.customer_id(row.origin),
    )
    return (row.workspace, binary.customer_id(row.customer), FactKey(row.fact)), stored


def _spell(place: FactPlace, stored: Stored) -> bytes:
    workspace, customer, key = place
    occurred = binary.micros(stored.occurred_at)
    counted = stored.counted_at
    fixed = _fixed(
        _COLUMNS, 16, binary.customer_key(customer), 16, key, 4, stored.ordinal, 8, occurred,
        8, occurred if counted is stored.occurred_at else binary.micros(counted),
        1, stored.withdrawn, 8, stored.revision, 8, stored.offset,
    )  # fmt: skip
    deleted_at = binary.NULL if stored.deleted_at is None else binary.instant(stored.deleted_at)
    content = binary.NULL if stored.content is None else binary.raw(stored.content)
    return fixed + binary.name(workspace) + deleted_at + content


def _keys(
    places: Iterable[FactPlace],
) -> tuple[binary.TextArray, binary.UuidArray, binary.UuidArray]:
    workspaces, customers, facts = zip(*places, strict=True)
    return (
        binary.texts(workspaces),
        binary.uuids([binary.customer_key(customer) for customer in customers]),
        binary.uuids(facts),
    )


def _columns(changed: Sequence[tuple[FactPlace, Stored]]) -> tuple[object, ...]:
    stored = [each for _, each in changed]
    return (
        *_keys(place for place, _ in changed),
        [each.ordinal for each in stored],
        [each.occurred_at for each in stored],
        [each.counted_at for each in stored],
        [each.deleted_at for each in stored],
        [each.withdrawn for each in stored],
        binary.bigints(each.revision for each in stored),
        binary.bigints(each.offset for each in stored),
        [None if each.content is None else each.content.decode() for each in stored],
        [each.partition for each in stored],
    )
