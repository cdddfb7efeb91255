"""What is stored of each fact at each customer, and the versions a batch makes of it.

Guarantee: within a batch every record meets its fact as the record before it left it, and the rows
written are the last state of each fact.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import LiteralString

import msgspec

from contracts.cloudevent import CloudEvent
from contracts.events import CustomEvent, EventData, EventWithdrawn, ProfileChanged
from contracts.identifiers import EventId, FactKey, key_of_event_id
from contracts.versions import Change, Stored, resolve, withdraw
from projections.kernel import rows
from services.runtime.postgres import Session

FactPlace = tuple[str, str, FactKey]
"""Workspace, customer id, key of the fact."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    workspace: str
    customer: str
    fact: str
    ordinal: int
    occurred_at: datetime
    counted_at: datetime
    deleted_at: datetime | None
    withdrawn: bool
    revision: int
    offset: int
    content: str | None


_LOAD: LiteralString = """
SELECT f.workspace, f.customer::text, f.fact::text, f.ordinal, f.occurred_at, f.counted_at,
    f.deleted_at, f.withdrawn, f.revision, f.record_offset, f.content
FROM unnest(%s::text[], %s::uuid[], %s::uuid[]) AS k (workspace, customer, fact)
JOIN facts f USING (workspace, customer, fact)"""
_COPY: LiteralString = """
COPY facts (workspace, customer, fact, ordinal, occurred_at, counted_at, deleted_at, withdrawn,
    revision, record_offset, content) FROM STDIN"""
_UPDATE: LiteralString = """
UPDATE facts f SET ordinal = n.ordinal, occurred_at = n.occurred_at, counted_at = n.counted_at,
    deleted_at = n.deleted_at, withdrawn = n.withdrawn, revision = n.revision,
    record_offset = n.record_offset, content = n.content
FROM unnest(%s::text[], %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[], %s::timestamptz[],
    %s::timestamptz[], %s::bool[], %s::bigint[], %s::bigint[], %s::text[])
    AS n (workspace, customer, fact, ordinal, occurred_at, counted_at, deleted_at, withdrawn,
        revision, record_offset, content)
WHERE f.workspace = n.workspace AND f.customer = n.customer AND f.fact = n.fact"""


def place_of(record: CloudEvent, event: EventData) -> FactPlace | None:
    """Say which stored fact a record is about; None where its fact can have no other version."""
    match event:
        case CustomEvent():
            if event.identified is None:
                return None
            return record.workspace, record.subject, key_of_event_id(event.event_id)
        case EventWithdrawn():
            return record.workspace, record.subject, key_of_event_id(event.event_id)
        case ProfileChanged():
            return None


class FactsOfBatch:
    """The facts that a batch of one partition is about."""

    def __init__(self, *, keeps_content: bool) -> None:
        self._keeps_content = keeps_content
        self._stored: dict[FactPlace, Stored] = {}
        self._existing: set[FactPlace] = set()
        self._changed: dict[FactPlace, Stored] = {}

    async def load(self, session: Session, places: Iterable[FactPlace]) -> None:
        """Read what is stored of these facts, in one statement."""
        wanted = sorted(set(places))
        if not wanted:
            return
        cursor = await session.execute(
            _LOAD,
            (
                rows.text_array(workspace for workspace, _, _ in wanted),
                rows.array(rows.customer_uuid(customer) for _, customer, _ in wanted),
                rows.array(key.hex() for _, _, key in wanted),
            ),
        )
        for found in await cursor.fetchall():
            row = msgspec.convert(found, _Row)
            place = (
                row.workspace,
                rows.customer_id(row.customer),
                FactKey(bytes.fromhex(row.fact.replace("-", ""))),
            )
            self._existing.add(place)
            self._stored[place] = Stored(
                ordinal=row.ordinal,
                occurred_at=row.occurred_at,
                counted_at=row.counted_at,
                deleted_at=row.deleted_at,
                withdrawn=row.withdrawn,
                revision=row.revision,
                offset=row.offset,
                content=None if row.content is None else row.content.encode(),
            )

    def change(
        self, record: CloudEvent, event: EventData, *, at: datetime, offset: int, revision: int
    ) -> Change | None:
        """Resolve what a record does to its fact; None where it is about no fact."""
        place = place_of(record, event)
        stored = None if place is None else self._stored.get(place)
        match event:
            case CustomEvent():
                key = key_of_event_id(event.event_id) if place is None else place[2]
                change = resolve(
                    stored,
                    event,
                    key=key,
                    recorded_at=record.recordedtime,
                    at=at,
                    offset=offset,
                    revision=revision,
                    keeps_content=self._keeps_content,
                )
            case EventWithdrawn():
                change = withdraw(stored, EventId(event.event_id), last_offset=event.last_offset)
            case ProfileChanged():
                return None
        if place is not None and change.stored is not None and change.stored is not stored:
            self._stored[place] = change.stored
            self._changed[place] = change.stored
        return change

    async def write(self, session: Session) -> None:
        """Write the last state of each fact that changed: new ones by COPY, others by one UPDATE."""
        fresh = [(p, s) for p, s in self._changed.items() if p not in self._existing]
        await rows.copy(session, _COPY, [_spell(place, stored) for place, stored in fresh])
        known = [(p, s) for p, s in self._changed.items() if p in self._existing]
        if known:
            await session.execute(_UPDATE, _columns(known))


def _spell(place: FactPlace, stored: Stored) -> str:
    workspace, customer, key = place
    content = rows.NULL if stored.content is None else rows.json_text(stored.content)
    return (
        f"{workspace}\t{rows.customer_uuid(customer)}\t{key.hex()}\t{stored.ordinal}"
        f"\t{stored.occurred_at.isoformat()}\t{stored.counted_at.isoformat()}"
        f"\t{rows.optional_time(stored.deleted_at)}\t{'t' if stored.withdrawn else 'f'}"
        f"\t{stored.revision}\t{stored.offset}\t{content}"
    )


def _columns(changed: list[tuple[FactPlace, Stored]]) -> tuple[object, ...]:
    return (
        [place[0] for place, _ in changed],
        rows.array(rows.customer_uuid(place[1]) for place, _ in changed),
        rows.array(place[2].hex() for place, _ in changed),
        [stored.ordinal for _, stored in changed],
        [stored.occurred_at for _, stored in changed],
        [stored.counted_at for _, stored in changed],
        [stored.deleted_at for _, stored in changed],
        [stored.withdrawn for _, stored in changed],
        [stored.revision for _, stored in changed],
        [stored.offset for _, stored in changed],
        [None if s.content is None else s.content.decode() for _, s in changed],
    )
