"""Rows that change hands in a merge, in tables whose rows are a customer's facts.

Guarantee: the key of such a table is workspace, customer, fact. A row goes to the survivor unless
the survivor has one of the same fact; one that was withdrawn there gives way and is set aside under
the merged customer. What changed hands bears where it came from, the last place last.
"""

from typing import LiteralString

from psycopg import sql

from contracts.identifiers import derive
from projections.kernel import rows
from services.runtime.postgres import Session

_TAKE: LiteralString = """
UPDATE {table} m SET customer = %(taker)s, origins = array_append(m.origins, m.customer)
WHERE m.workspace = %(workspace)s AND m.customer = %(giver)s AND NOT EXISTS (
    SELECT FROM {table} t
    WHERE t.workspace = m.workspace AND t.customer = %(taker)s AND t.fact = m.fact)"""
_SHELVE: LiteralString = """
UPDATE {table} m SET customer = %(shelf)s FROM {table} t
WHERE m.workspace = %(workspace)s AND m.customer = %(giver)s AND NOT m.withdrawn
    AND t.workspace = m.workspace AND t.customer = %(taker)s AND t.fact = m.fact
    AND t.withdrawn"""
_GIVE_WAY: LiteralString = """
UPDATE {table} t SET customer = %(giver)s FROM {table} s
WHERE s.workspace = %(workspace)s AND s.customer = %(shelf)s
    AND t.workspace = s.workspace AND t.customer = %(taker)s AND t.fact = s.fact"""
_UNSHELVE: LiteralString = """
UPDATE {table} SET customer = %(taker)s, origins = array_append(origins, %(giver)s::uuid)
WHERE workspace = %(workspace)s AND customer = %(shelf)s"""


async def take(
    session: Session, table: LiteralString, *, workspace: str, giver: str, taker: str
) -> None:
    """Hand a closed customer's rows over, inside the transaction that takes over from it."""
    parameters = {
        "workspace": workspace,
        "giver": rows.customer_uuid(giver),
        "taker": rows.customer_uuid(taker),
        "shelf": derive("shelf", giver, taker).hex(),
    }
    name = sql.Identifier(table)
    await session.execute(sql.SQL(_TAKE).format(table=name), parameters)
    shelved = await session.execute(sql.SQL(_SHELVE).format(table=name), parameters)
    if shelved.rowcount:
        await session.execute(sql.SQL(_GIVE_WAY).format(table=name), parameters)
        await session.execute(sql.SQL(_UNSHELVE).format(table=name), parameters)
