"""Finding customers by id, source_id or email."""

import re
from collections.abc import Mapping
from typing import Final, LiteralString

import msgspec
from psycopg import sql

from projections.customers.queries.answers import CustomerPage, CustomerProfile
from projections.customers.queries.pages import (
    FAR_PAST,
    LIMIT_MAX,
    CustomersEnd,
    check_limit,
    read_cursor,
    write_cursor,
)
from projections.customers.store.customers import PROFILE_COLUMNS, ProfileColumns
from projections.kernel import rows
from services.runtime.postgres import Session

_CUSTOMER_ID: Final = re.compile(r"cust_[0-9a-f]{32}", re.ASCII)

_COLUMNS = PROFILE_COLUMNS + sql.SQL(", c.customer::text")
# Who was merged into another one answers as that one.
_BY_ID: LiteralString = """
WITH RECURSIVE heirs AS (
    SELECT %(workspace)s::text AS workspace, %(customer)s::uuid AS customer
    UNION ALL
    SELECT d.workspace, d.taken_by FROM heirs h JOIN {closed} d USING (workspace, customer)
    WHERE d.taken_by IS NOT NULL)
SELECT {columns} FROM heirs JOIN {table} c USING (workspace, customer)
WHERE NOT EXISTS (SELECT FROM {closed} d WHERE d.workspace = c.workspace
    AND d.customer = c.customer AND d.taken_by IS NOT NULL)"""
_BY_SOURCE_ID: LiteralString = (
    "SELECT {columns} FROM {table} c WHERE workspace = %s AND source_id = %s"
    " ORDER BY created_at, customer LIMIT 1"
)
_BY_EMAIL: LiteralString = (
    "SELECT {columns} FROM {table} c WHERE workspace = %s AND lower(email) = lower(%s)"
    " AND (created_at, customer) > (%s, %s) AND NOT EXISTS (SELECT FROM {closed} d"
    " WHERE d.workspace = c.workspace AND d.customer = c.customer AND d.taken_by IS NOT NULL)"
    " ORDER BY created_at, customer LIMIT %s"
)


class _Row(ProfileColumns, array_like=True, frozen=True):
    customer: str


async def find_customer(
    session: Session, schema: str, workspace: str, id_or_source_id: str
) -> CustomerProfile | None:
    """Find a customer; an id outranks a source_id that looks like one.

    Who was merged into another customer is found as that one, also by the source_id of before.
    """
    if _CUSTOMER_ID.fullmatch(id_or_source_id):
        digits = rows.customer_uuid(id_or_source_id)
        found = await _find_heir(session, schema, workspace, digits)
        if found is not None:
            return found
    query = sql.SQL(_BY_SOURCE_ID).format(**_names(schema))
    by_source_id = await _find(session, query, (workspace, id_or_source_id))
    if not by_source_id:
        return None
    return await _find_heir(session, schema, workspace, rows.customer_uuid(by_source_id[0].id))


async def _find_heir(
    session: Session, schema: str, workspace: str, digits: str
) -> CustomerProfile | None:
    query = sql.SQL(_BY_ID).format(**_names(schema))
    found = await _find(session, query, {"workspace": workspace, "customer": digits})
    return found[0] if found else None


def _names(schema: str) -> dict[str, sql.Composable]:
    return {
        "columns": _COLUMNS,
        "table": sql.Identifier(schema, "customers"),
        "closed": sql.Identifier(schema, "closed"),
    }


async def find_customers_by_email(
    session: Session,
    schema: str,
    workspace: str,
    email: str,
    *,
    limit: int = LIMIT_MAX,
    cursor: str | None = None,
) -> CustomerPage:
    """Find who has an email in the profile, whatever its case; the first created first."""
    check_limit(limit)
    end = read_cursor(cursor, CustomersEnd, CustomersEnd(FAR_PAST, "0" * 32))
    query = sql.SQL(_BY_EMAIL).format(**_names(schema))
    place = (end.created_at, end.customer)
    found = await _find(session, query, (workspace, email.strip(), *place, limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    ended = None
    if last is not None:
        ended = write_cursor(CustomersEnd(last.created_at, rows.customer_uuid(last.id)))
    return CustomerPage(data=found[:limit], next_cursor=ended)


async def _find(
    session: Session,
    query: sql.Composed,
    parameters: tuple[object, ...] | Mapping[str, object],
) -> list[CustomerProfile]:
    found = await (await session.execute(query, parameters)).fetchall()
    return [_profile(msgspec.convert(row, _Row)) for row in found]


def _profile(row: _Row) -> CustomerProfile:
    return CustomerProfile(
        id=rows.customer_id(row.customer),
        source_id=row.source_id,
        email=row.email,
        name=row.name,
        phone=row.phone,
        description=row.description,
        birthdate=row.birthdate,
        birthday=row.birthday,
        address=row.decoded_address,
        metadata=msgspec.Raw(row.metadata.encode()),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
