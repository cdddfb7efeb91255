"""Events by id, and lists of them.

A fact told for several customers stands at the one who holds it; what was withdrawn is not shown.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import LiteralString

import msgspec
from psycopg import sql

from contracts import codec
from contracts.identifiers import FactKey, event_id, fact_key, key_of_event_id
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from projections.customers.model import EventContent
from projections.customers.queries.answers import (
    EventCustomer,
    EventPage,
    ShownOutcome,
    StoredEvent,
)
from projections.customers.queries.customers import find_customer
from projections.customers.queries.pages import (
    FAR_FUTURE,
    FAR_PAST,
    EventsEnd,
    check_limit,
    read_cursor,
    write_cursor,
)
from projections.kernel import rows
from services.runtime.postgres import Session

_COLUMNS = sql.SQL("""e.customer::text, c.source_id, c.email, c.name, c.metadata,
    e.fact::text, e.event, e.external_id, e.outcome, e.version, e.occurred_at, e.created_at,
    e.deleted_at, e.partition, e.record_offset, e.content""")
_BY_FACT: LiteralString = (
    "SELECT {columns} FROM {events} e JOIN {customers} c USING (workspace, customer)"
    " LEFT JOIN {owners} o USING (workspace, fact)"
    " WHERE e.workspace = %s AND e.fact = %s AND NOT e.withdrawn"
    " ORDER BY (o.customer = e.customer) DESC NULLS LAST, e.customer LIMIT 1"
)
# What a merge set aside, since the survivor has it too, is not shown.
_LIST: LiteralString = (
    "SELECT {columns} FROM {events} e JOIN {customers} c USING (workspace, customer)"
    " WHERE {where} AND NOT e.withdrawn AND (e.occurred_at, e.fact) < (%(at)s, %(fact)s)"
    " AND e.occurred_at >= %(since)s AND e.occurred_at <= %(until)s"
    " AND NOT EXISTS (SELECT FROM {closed} d WHERE d.workspace = e.workspace"
    " AND d.customer = e.customer AND d.taken_by IS NOT NULL)"
    " ORDER BY e.occurred_at DESC, e.fact DESC LIMIT %(limit)s"
)
# Every type's newest events by the index of its own, found by skipping from type to type.
_LIST_ALL: LiteralString = """
WITH RECURSIVE types AS (
    (SELECT event FROM {events} WHERE workspace = %(workspace)s ORDER BY event LIMIT 1)
    UNION ALL
    SELECT (SELECT n.event FROM {events} n WHERE n.workspace = %(workspace)s
        AND n.event > types.event ORDER BY n.event LIMIT 1)
    FROM types WHERE types.event IS NOT NULL
)
SELECT {columns}
FROM types CROSS JOIN LATERAL (
    SELECT * FROM {events} n WHERE n.workspace = %(workspace)s AND n.event = types.event
        AND NOT n.withdrawn AND (n.occurred_at, n.fact) < (%(at)s, %(fact)s)
        AND n.occurred_at >= %(since)s AND n.occurred_at <= %(until)s
        AND NOT EXISTS (SELECT FROM {closed} d WHERE d.workspace = n.workspace
            AND d.customer = n.customer AND d.taken_by IS NOT NULL)
    ORDER BY n.occurred_at DESC, n.fact DESC LIMIT %(limit)s) e
JOIN {customers} c ON c.workspace = e.workspace AND c.customer = e.customer
WHERE types.event IS NOT NULL
ORDER BY e.occurred_at DESC, e.fact DESC LIMIT %(limit)s"""
_SAMPLE: LiteralString = (
    "SELECT content FROM {} WHERE workspace = %s AND event = %s AND NOT withdrawn"
    " ORDER BY occurred_at DESC, fact DESC LIMIT %s"
)
_FACT_END = "f" * 32


_decode_content = codec.decoder(EventContent).decode


class _Row(msgspec.Struct, array_like=True, frozen=True):
    customer: str
    source_id: str | None
    email: str | None
    name: str | None
    profile_metadata: str
    fact: str
    event: str
    external_id: str | None
    outcome: ShownOutcome
    version: int
    occurred_at: datetime
    created_at: datetime
    deleted_at: datetime | None
    partition: int
    offset: int
    content: str


async def find_event(
    session: Session, schema: str, workspace: str, event: str
) -> StoredEvent | None:
    """Find an event by its public id (``event_…``)."""
    try:
        key = key_of_event_id(event)
    except ValueError:
        return None
    query = sql.SQL(_BY_FACT).format(**_names(schema))
    row = await (await session.execute(query, (workspace, key.hex()))).fetchone()
    return None if row is None else _stored(msgspec.convert(row, _Row))


async def list_events(
    session: Session,
    schema: str,
    workspace: str,
    *,
    event: str | None = None,
    customer: str | None = None,
    external_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int,
    cursor: str | None = None,
) -> EventPage:
    """List events by when they occurred, newest first.

    Args:
        session: any session; the tables are named with their schema.
        schema: of the generation.
        workspace: whose events.
        event: only of this type.
        customer: only of this customer, by id or source_id; of an unknown one the page is empty.
        external_id: only what the producer named so.
        since: occurred at this instant or later.
        until: occurred at this instant or earlier.
        limit: rows of the page, 1 to ``LIMIT_MAX``.
        cursor: ``next_cursor`` of the page before.
    """
    check_limit(limit)
    end = read_cursor(cursor, EventsEnd, EventsEnd(FAR_FUTURE, _FACT_END))
    digits = None
    if customer is not None:
        found = await find_customer(session, schema, workspace, customer)
        if found is None:
            return EventPage(data=[], next_cursor=None)
        digits = rows.customer_uuid(found.id)
    key = None
    if event is not None and external_id is not None:
        key = fact_key(workspace, event, external_id=external_id, producer_id=None)
    parameters = {
        "workspace": workspace,
        "event": event,
        "customer": digits,
        "external_id": external_id,
        "key": None if key is None else key.hex(),
        "at": end.occurred_at,
        "fact": end.fact,
        "since": since or FAR_PAST,
        "until": until or FAR_FUTURE,
        "limit": limit + 1,
    }
    named = await (await session.execute(_query(schema, parameters), parameters)).fetchall()
    events = [_stored(msgspec.convert(row, _Row)) for row in named[:limit]]
    ended = None
    if len(named) > limit:
        last = events[-1]
        ended = write_cursor(EventsEnd(last.occurred_at, key_of_event_id(last.id).hex()))
    return EventPage(data=events, next_cursor=ended)


def _query(schema: str, parameters: Mapping[str, object]) -> sql.Composed:
    """Name only the conditions given, so that each list has an index to walk."""
    conditions = [sql.SQL("e.workspace = %(workspace)s")]
    if parameters["key"] is not None:
        conditions.append(sql.SQL("e.fact = %(key)s"))
    elif parameters["external_id"] is not None:
        conditions.append(sql.SQL("e.external_id = %(external_id)s"))
    elif parameters["event"] is not None:
        conditions.append(sql.SQL("e.event = %(event)s"))
    if parameters["customer"] is not None:
        conditions.append(sql.SQL("e.customer = %(customer)s"))
    if len(conditions) == 1:
        return sql.SQL(_LIST_ALL).format(**_names(schema))
    where = sql.SQL(" AND ").join(conditions)
    return sql.SQL(_LIST).format(**_names(schema), where=where)


def _names(schema: str) -> dict[str, sql.Composable]:
    return {
        "columns": _COLUMNS,
        "events": sql.Identifier(schema, "events"),
        "customers": sql.Identifier(schema, "customers"),
        "closed": sql.Identifier(schema, "closed"),
        "owners": sql.Identifier(schema, "fact_owners"),
    }


async def sample_events(
    session: Session, schema: str, workspace: str, event_type: str, *, limit: int
) -> list[msgspec.Raw]:
    """Answer the metadata (JSON objects) of the newest events of a type, deleted ones included."""
    query = sql.SQL(_SAMPLE).format(sql.Identifier(schema, "events"))
    found: Sequence[tuple[str]] = await (
        await session.execute(query, (workspace, event_type, check_limit(limit)))
    ).fetchall()
    return [_decode_content(content.encode()).metadata for (content,) in found]


def _stored(row: _Row) -> StoredEvent:
    content = _decode_content(row.content.encode())
    return StoredEvent(
        id=event_id(FactKey(bytes.fromhex(row.fact.replace("-", "")))),
        type=row.event,
        customer=EventCustomer(
            id=rows.customer_id(row.customer),
            source_id=row.source_id,
            email=row.email,
            name=row.name,
            metadata=msgspec.Raw(row.profile_metadata.encode()),
        ),
        referral=content.referral,
        loyalty=content.loyalty,
        metadata=content.metadata,
        occurred_at=row.occurred_at,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
        external_id=row.external_id,
        goal_type=content.goal_type,
        goal_name=content.goal_name,
        goal_value=content.goal_value,
        historical=content.historical,
        outcome=row.outcome,
        version=row.version,
        position=str(Position(CUSTOMER_EVENTS, row.partition, row.offset)),
    )
