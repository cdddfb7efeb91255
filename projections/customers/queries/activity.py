"""Timelines: of one customer, and of a workspace.

The order is that of the log, newest first: where a record was appended, not when it claims to have
occurred, so a page that was read stays as it was.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec
from psycopg import sql

from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from projections.customers.queries.answers import ActivityEntry, ActivityPage
from projections.customers.queries.pages import (
    FAR_FUTURE,
    OFFSET_END,
    ActivityEnd,
    TimelineEnd,
    check_limit,
    read_cursor,
    write_cursor,
)
from projections.kernel import rows
from services.runtime.postgres import Session

_COLUMNS = sql.SQL("""customer::text, partition, record_offset, number, kind, occurred_at,
    recorded_at, data, caused_by""")
_OF_CUSTOMER: LiteralString = (
    "SELECT {columns} FROM {table} WHERE workspace = %s AND customer = %s"
    " AND (record_offset, number) < (%s, %s) AND (%s::text IS NULL OR kind = %s)"
    " ORDER BY record_offset DESC, number DESC LIMIT %s"
)
_OF_WORKSPACE: LiteralString = (
    "SELECT {columns} FROM {table} WHERE workspace = %s"
    " AND (recorded_at, partition, record_offset, number) < (%s, %s, %s, %s)"
    " ORDER BY recorded_at DESC, partition DESC, record_offset DESC, number DESC LIMIT %s"
)
_NUMBER_END = 2**15 - 1
_PARTITION_END = 2**31 - 1


class _Row(msgspec.Struct, array_like=True, frozen=True):
    customer: str
    partition: int
    offset: int
    number: int
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    data: str
    caused_by: str | None


async def activity(
    session: Session,
    schema: str,
    workspace: str,
    customer: str,
    *,
    kind: str | None = None,
    limit: int,
    cursor: str | None = None,
) -> ActivityPage:
    """List a customer's timeline, newest first.

    Args:
        session: any session; the tables are named with their schema.
        schema: of the generation.
        workspace: whose customer it is.
        customer: customer id; of an unknown one the page is empty.
        kind: only entries of this kind.
        limit: rows of the page, 1 to ``LIMIT_MAX``.
        cursor: ``next_cursor`` of the page before.
    """
    check_limit(limit)
    end = read_cursor(cursor, TimelineEnd, TimelineEnd(OFFSET_END, 0))
    query = sql.SQL(_OF_CUSTOMER).format(columns=_COLUMNS, table=sql.Identifier(schema, "timeline"))
    digits = rows.customer_uuid(customer)
    parameters = (workspace, digits, end.offset, end.number, kind, kind, limit + 1)
    found = await _fetch(session, query, parameters)
    last = found[limit - 1] if len(found) > limit else None
    ended = None if last is None else write_cursor(TimelineEnd(last.offset, last.number))
    return ActivityPage(data=[_entry(row) for row in found[:limit]], next_cursor=ended)


async def workspace_activity(
    session: Session, schema: str, workspace: str, *, limit: int, cursor: str | None = None
) -> ActivityPage:
    """List what happened in a workspace, newest first; see ``activity`` for the arguments."""
    check_limit(limit)
    start = ActivityEnd(FAR_FUTURE, _PARTITION_END, OFFSET_END, _NUMBER_END)
    end = read_cursor(cursor, ActivityEnd, start)
    query = sql.SQL(_OF_WORKSPACE).format(
        columns=_COLUMNS, table=sql.Identifier(schema, "timeline")
    )
    place = (end.recorded_at, end.partition, end.offset, end.number)
    found = await _fetch(session, query, (workspace, *place, limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    ended = None if last is None else write_cursor(_end_of(last))
    return ActivityPage(data=[_entry(row) for row in found[:limit]], next_cursor=ended)


async def _fetch(session: Session, query: sql.Composed, parameters: Sequence[object]) -> list[_Row]:
    found = await (await session.execute(query, parameters)).fetchall()
    return [msgspec.convert(row, _Row) for row in found]


def _end_of(row: _Row) -> ActivityEnd:
    return ActivityEnd(row.recorded_at, row.partition, row.offset, row.number)


def _entry(row: _Row) -> ActivityEntry:
    return ActivityEntry(
        id=f"activity_{row.partition}_{row.offset}_{row.number}",
        kind=row.kind,
        customer=rows.customer_id(row.customer),
        occurred_at=row.occurred_at,
        recorded_at=row.recorded_at,
        data=msgspec.Raw(row.data.encode()),
        caused_by=row.caused_by,
        position=str(Position(CUSTOMER_EVENTS, row.partition, row.offset)),
    )
