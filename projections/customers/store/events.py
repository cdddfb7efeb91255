"""Rows of ``events``: what stands of each fact at each customer.

Guarantee: first versions are added without looking; rows are read only where a version
or a withdrawal follows.
"""

from collections.abc import Sequence
from datetime import datetime
from struct import Struct
from typing import LiteralString

import msgspec

from contracts import codec
from contracts.identifiers import FactKey
from projections.customers.model import EventContent, EventRow, WorkingSet
from projections.customers.model.rows import FactPlace
from projections.kernel import binary
from projections.kernel.projection import Step
from projections.kernel.tables import Table
from services.runtime.postgres import Session

_LOAD: LiteralString = """
SELECT e.workspace, uuid_send(e.customer), uuid_send(e.fact), e.event, e.external_id, e.outcome,
    e.version, e.revision, e.occurred_at, e.counted_at, e.created_at, e.deleted_at, e.withdrawn,
    e.partition, e.record_offset, e.content
FROM unnest(%s, %s, %s) AS k (workspace, customer, fact)
JOIN events e USING (workspace, customer, fact)"""
_EVENTS = Table(
    "events",
    "customer uuid, fact uuid, version integer, revision bigint, occurred_at timestamptz,"
    " counted_at timestamptz, created_at timestamptz, withdrawn boolean, partition integer,"
    " record_offset bigint, workspace text, event text, external_id text, outcome text,"
    " deleted_at timestamptz, content text",
)
_UPDATE: LiteralString = """
UPDATE events e SET outcome = n.outcome, version = n.version, revision = n.revision,
    occurred_at = n.occurred_at, counted_at = n.counted_at, created_at = n.created_at,
    deleted_at = n.deleted_at, withdrawn = n.withdrawn, record_offset = n.record_offset,
    content = n.content, partition = n.partition
FROM unnest(%s, %s, %s, %s, %s::int[], %s, %s::timestamptz[], %s::timestamptz[],
    %s::timestamptz[], %s::timestamptz[], %s::bool[], %s, %s::text[],
    %s::int[])
    AS n (workspace, customer, fact, outcome, version, revision, occurred_at, counted_at,
        created_at, deleted_at, withdrawn, record_offset, content, partition)
WHERE e.workspace = n.workspace AND e.customer = n.customer AND e.fact = n.fact"""
_UPDATE_OUTCOMES: LiteralString = """
UPDATE events e SET outcome = n.outcome
FROM unnest(%s, %s, %s, %s) AS n (workspace, customer, fact, outcome)
WHERE e.workspace = n.workspace AND e.customer = n.customer AND e.fact = n.fact
    AND e.outcome <> n.outcome"""

_FIRST = 1
_COLUMNS = 16
_fixed = Struct(">h i16s i16s ii iq iq iq iq i? ii iq").pack

_decode_content = codec.decoder(EventContent).decode


class _Row(msgspec.Struct, array_like=True, frozen=True):
    workspace: str
    customer: bytes
    fact: bytes
    event: str
    external_id: str | None
    outcome: str
    version: int
    revision: int
    occurred_at: datetime
    counted_at: datetime
    created_at: datetime
    deleted_at: datetime | None
    withdrawn: bool
    partition: int
    offset: int
    content: str


async def load(session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
    """Read the rows of facts that were told before and change now."""
    wanted = sorted(
        {
            (step.record.workspace, step.record.subject, step.change.key)
            for step in steps
            if step.change is not None
            and step.change.is_effective
            and step.change.stored is not None
            and step.change.stored.ordinal > _FIRST
        }
    )
    if not wanted:
        return
    cursor = await session.execute(_LOAD, _keys(wanted))
    for found in await cursor.fetchall():
        row = msgspec.convert(found, _Row)
        place = (row.workspace, binary.customer_id(row.customer), FactKey(row.fact))
        working.events[place] = _event(row)
        working.stored_events.add(place)


def _event(row: _Row) -> EventRow:
    return EventRow(
        event=row.event,
        external_id=row.external_id,
        outcome=row.outcome,
        version=row.version,
        revision=row.revision,
        occurred_at=row.occurred_at,
        counted_at=row.counted_at,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
        withdrawn=row.withdrawn,
        partition=row.partition,
        offset=row.offset,
        content=_decode_content(row.content.encode()),
    )


async def write(session: Session, working: WorkingSet) -> None:
    """Write the rows that changed: new ones are added, others updated, by set."""
    stored = working.stored_events
    changed = working.changed_events
    fresh = [_spell(p, working.events[p]) for p in changed if p not in stored]
    await _EVENTS.add(session, fresh)
    known = [(p, working.events[p]) for p in changed if p in stored]
    if known:
        await session.execute(_UPDATE, _columns(known))
    if working.outcomes:
        outcomes = sorted(working.outcomes.items())
        keys = _keys([place for place, _ in outcomes])
        told = binary.texts(outcome for _, outcome in outcomes)
        await session.execute(_UPDATE_OUTCOMES, (*keys, told))


def _keys(
    places: Sequence[FactPlace],
) -> tuple[binary.TextArray, binary.UuidArray, binary.UuidArray]:
    return (
        binary.texts(workspace for workspace, _, _ in places),
        binary.uuids([binary.customer_key(customer) for _, customer, _ in places]),
        binary.uuids([key for _, _, key in places]),
    )


def _spell(place: FactPlace, row: EventRow) -> bytes:
    workspace, customer, key = place
    occurred = binary.micros(row.occurred_at)
    fixed = _fixed(
        _COLUMNS, 16, binary.customer_key(customer), 16, key, 4, row.version, 8, row.revision,
        8, occurred, 8, occurred if row.counted_at is row.occurred_at else
        binary.micros(row.counted_at), 8, binary.micros(row.created_at), 1, row.withdrawn,
        4, row.partition, 8, row.offset,
    )  # fmt: skip
    external_id = binary.NULL if row.external_id is None else binary.text(row.external_id)
    named = binary.name(workspace) + binary.name(row.event) + external_id
    outcome = binary.name(row.outcome) + binary.instant(row.deleted_at)
    return fixed + named + outcome + binary.raw(codec.encode(row.content))


def _columns(known: list[tuple[FactPlace, EventRow]]) -> tuple[object, ...]:
    return (
        *_keys([place for place, _ in known]),
        binary.texts(row.outcome for _, row in known),
        [row.version for _, row in known],
        binary.bigints(row.revision for _, row in known),
        [row.occurred_at for _, row in known],
        [row.counted_at for _, row in known],
        [row.created_at for _, row in known],
        [row.deleted_at for _, row in known],
        [row.withdrawn for _, row in known],
        binary.bigints(row.offset for _, row in known),
        [codec.encode(row.content).decode() for _, row in known],
        [row.partition for _, row in known],
    )
