"""Whom a path means: a customer id, or the ``source_id`` that a producer knows one by."""

import re
from typing import Final, LiteralString

from contracts.identifiers import CustomerId
from projections.kernel.rows import customer_id, customer_uuid
from services.api.call import missing
from services.api.routes import PathParam
from services.runtime.postgres import Session

CUSTOMER: Final = PathParam(
    name="customer", description="Id or `source_id` of a customer.", example="alex@domain.io"
)

_ID: Final = re.compile(r"cust_[0-9a-f]{32}", re.ASCII)
_EXISTS: LiteralString = """
SELECT customer::text FROM upshot.customer_keys WHERE workspace = %s AND customer = %s::uuid"""
_BY_SOURCE_ID: LiteralString = """
SELECT customer::text FROM upshot.identities
WHERE workspace = %s AND kind = 'source_id' AND value = %s"""


def reads_as_id(text: str) -> str | None:
    """The uuid of a text that has the form of a customer id; None where it has another."""
    return customer_uuid(text) if _ID.fullmatch(text) else None


async def find_customer(session: Session, workspace: str, text: str) -> CustomerId | None:
    """The customer of an id or ``source_id``; what reads as an id is one, if it exists."""
    uuid = reads_as_id(text)
    if uuid is not None:
        found = await _one(session, _EXISTS, workspace, uuid)
        if found is not None:
            return found
    return await _one(session, _BY_SOURCE_ID, workspace, text)


async def known_customer(session: Session, workspace: str, text: str) -> CustomerId:
    """As ``find_customer``; raises ``ProblemError`` 404 where there is none."""
    found = await find_customer(session, workspace, text)
    if found is None:
        raise missing("such customer")
    return found


async def _one(
    session: Session, query: LiteralString, workspace: str, value: str
) -> CustomerId | None:
    row = await (await session.execute(query, (workspace, value))).fetchone()
    return None if row is None else customer_id(row[0])
