"""Timelines: of one customer, and of a workspace.

The order is that of the log, newest first: where a record was appended, not when it claims to have
occurred, so a page that was read stays as it was. A stream goes the other way, each partition in
its own order, because partitions are applied independently: what one brings late is told late.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec
from psycopg import sql

from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from projections.customers.queries.answers import ActivityEntry, ActivityPage, NewActivity, NewEntry
from projections.customers.queries.pages import (
    FAR_FUTURE,
    FAR_PAST,
    OFFSET_END,
    ActivityEnd,
    NextPlace,
    StreamEnd,
    TimelineEnd,
    check_limit,
    read_cursor,
    read_place,
    write_cursor,
)
from projections.kernel import rows
from services.runtime.postgres import Session

_COLUMNS = sql.SQL("""e.customer::text, e.partition, e.record_offset, e.number, e.kind,
    e.occurred_at, e.recorded_at, e.data, e.caused_by""")
_OF_CUSTOMER: LiteralString = (
    "SELECT {columns} FROM {table} e WHERE workspace = %s AND customer = %s"
    " AND (recorded_at, partition, record_offset, number) < (%s, %s, %s, %s)"
    " AND (%s::text IS NULL OR kind = %s)"
    " ORDER BY recorded_at DESC, partition DESC, record_offset DESC, number DESC LIMIT %s"
)
_OF_WORKSPACE: LiteralString = (
    "SELECT {columns} FROM {table} e WHERE workspace = %s"
    " AND (recorded_at, partition, record_offset, number) < (%s, %s, %s, %s)"
    " ORDER BY recorded_at DESC, partition DESC, record_offset DESC, number DESC LIMIT %s"
)
_APPLIED: LiteralString = """
SELECT coalesce((progress->'clocks'->>%s)::timestamptz, logical_time), next_offset, 0
FROM {table} ORDER BY partition"""
# Within a partition times never go back, so its entries from a place on are a range of the index.
_NEW: LiteralString = """
SELECT {columns}
FROM unnest(%s::int[], %s::timestamptz[], %s::bigint[], %s::smallint[], %s::timestamptz[],
    %s::bigint[]) AS n (partition, since, record_offset, number, until, next_offset)
CROSS JOIN LATERAL (
    SELECT t.* FROM {table} t WHERE t.workspace = %s AND t.partition = n.partition
        AND t.recorded_at >= n.since AND t.recorded_at <= n.until
        AND (t.record_offset, t.number) >= (n.record_offset, n.number)
        AND t.record_offset < n.next_offset
    ORDER BY t.recorded_at, t.partition, t.record_offset, t.number LIMIT %s) AS e
ORDER BY e.recorded_at, e.partition, e.record_offset, e.number LIMIT %s"""
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
    start = TimelineEnd(FAR_FUTURE, _PARTITION_END, OFFSET_END, _NUMBER_END)
    end = read_cursor(cursor, TimelineEnd, start)
    query = sql.SQL(_OF_CUSTOMER).format(columns=_COLUMNS, table=sql.Identifier(schema, "timeline"))
    digits = rows.customer_uuid(customer)
    place = (end.recorded_at, end.partition, end.offset, end.number)
    parameters = (workspace, digits, *place, kind, kind, limit + 1)
    found = await _fetch(session, query, parameters)
    last = found[limit - 1] if len(found) > limit else None
    ended = None
    if last is not None:
        ended = write_cursor(
            TimelineEnd(last.recorded_at, last.partition, last.offset, last.number)
        )
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


async def new_activity(
    session: Session, schema: str, workspace: str, place: str | None, *, limit: int
) -> NewActivity:
    """Read what a stream has not told yet: every entry once, whatever partitions bring late.

    A place holds what was told of each partition, so that any process can go on from it. Over a
    stream's life each partition's share of the index is walked once for every partition.

    Args:
        session: any session; the tables are named with their schema.
        schema: of the generation.
        workspace: whose activity.
        place: where the stream stands; None starts one behind everything that is applied.
        limit: entries at once, 1 to ``LIMIT_MAX``.

    Raises:
        RefusedError: the place is none that this function answered.
    """
    table = sql.Identifier(schema, "checkpoints")
    applied = await session.execute(sql.SQL(_APPLIED).format(table=table), (workspace,))
    found = await applied.fetchall()
    ends = [msgspec.convert(row, NextPlace) for row in found]  # rows before them are committed
    told = list(ends if place is None else read_place(place, len(ends)).places)
    moved = [number for number, end in enumerate(ends) if told[number].offset < end.offset]
    wanted = [
        (number, *_since(told[number], ends[number]), ends[number].recorded_at, ends[number].offset)
        for number in moved
    ]
    query = sql.SQL(_NEW).format(columns=_COLUMNS, table=sql.Identifier(schema, "timeline"))
    columns = [list(column) for column in zip(*wanted, strict=True)]
    parameters = (*columns, workspace, check_limit(limit), limit)
    entries: list[NewEntry] = []
    for row in await _fetch(session, query, parameters) if moved else []:
        told[row.partition] = NextPlace(row.recorded_at, row.offset, row.number + 1)
        entries.append(NewEntry(entry=_entry(row), place=write_cursor(StreamEnd(tuple(told)))))
    has_more = len(entries) == limit
    if not has_more:
        for number in moved:
            told[number] = ends[number]
    return NewActivity(
        entries=entries, place=write_cursor(StreamEnd(tuple(told))), has_more=has_more
    )


def _since(place: NextPlace, end: NextPlace) -> tuple[datetime, int, int]:
    """The place to read from; one later than its end is from before the workspace's test clock."""
    at = place.recorded_at if place.recorded_at <= end.recorded_at else FAR_PAST
    return at, place.offset, place.number


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
