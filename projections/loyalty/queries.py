"""Reading the ledger: members, entries, totals. Read-only; the schema is the generation's."""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import msgspec
from psycopg import sql

from contracts.effects import Account, LoyaltyEntry
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel import binary, rows
from projections.loyalty.entries import Entry, public_entry
from projections.loyalty.outcome_rows import decode_answer
from projections.loyalty.outcomes import Granted, Joined, Refused
from projections.loyalty.store import entry_of
from services.runtime.postgres import Session


class Points(msgspec.Struct, frozen=True, kw_only=True):
    """A member's points by where they are; ``lifetime`` is their sum."""

    available: int
    pending: int
    spent: int
    expired: int
    lifetime: int


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a program; a customer without entries reads as zeros."""

    program: str
    customer: str
    points: Points
    card: str | None = None
    tier: str | None = None
    next_expiry: None = None
    object: str = "loyalty_member"


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a transfer: points signed from the account's side."""

    account: Account
    points: int


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """An entry with its postings, which sum to zero."""

    id: str
    program: str
    customer: str
    kind: str
    points: int
    at: str
    rule: str
    revision: int
    caused_by: str
    reverses: str | None
    shortfall: int
    position: str
    postings: list[Posting]
    object: str = "loyalty_entry"


class EntryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, newest first, and where to go on (None at the end)."""

    entries: list[EntryView]
    next_cursor: str | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A program's totals: ``issued = held + spent + expired``."""

    program: str
    members: int
    issued: int
    held: int
    spent: int
    expired: int
    earned: int
    adjusted: int
    reversed: int
    object: str = "loyalty_totals"


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of a request; ``digest`` is that of the command, ``position`` its place."""

    digest: str
    position: str
    answer: EntryView | MemberView | Refused


class CursorError(ValueError):
    """The cursor is none that a page of entries gave out."""


_MEMBERS: LiteralString = """
SELECT program, available, pending, spent, expired FROM {}
WHERE workspace = %s AND customer = %s::uuid AND (%s::text IS NULL OR program = %s)
ORDER BY program"""
_ENTRIES: LiteralString = """
SELECT e.workspace, e.customer::text, e.entry::text, e.program, e.kind, e.points, e.shortfall, e.at,
    e.rule, e.revision, e.fact::text, e.reverses::text, e.partition, e.record_offset, e.place,
    e.transfers, e.drawn
FROM {} e
WHERE workspace = %s AND customer = %s::uuid AND program = %s
    AND (at, partition, record_offset, place) < (%s, %s, %s, %s)
ORDER BY at DESC, partition DESC, record_offset DESC, place DESC LIMIT %s"""
_OF_EVENT: LiteralString = """
SELECT e.workspace, e.customer::text, e.entry::text, e.program, e.kind, e.points, e.shortfall, e.at,
    e.rule, e.revision, e.fact::text, e.reverses::text, e.partition, e.record_offset, e.place,
    e.transfers, e.drawn
FROM {} e
WHERE workspace = %s AND customer = %s::uuid AND program = %s AND fact = %s::uuid
ORDER BY at, partition, record_offset, place"""
_TOTALS: LiteralString = """
SELECT count(*), coalesce(sum(earned + adjusted - reversed), 0)::bigint,
    coalesce(sum(available + pending), 0)::bigint, coalesce(sum(spent), 0)::bigint,
    coalesce(sum(expired), 0)::bigint, coalesce(sum(earned), 0)::bigint,
    coalesce(sum(adjusted), 0)::bigint, coalesce(sum(reversed), 0)::bigint
FROM {} WHERE workspace = %s AND program = %s"""
_OUTCOMES: LiteralString = """
SELECT uuid_send(request), uuid_send(customer), program, digest, answer, partition, record_offset
FROM {} WHERE request = ANY (%s)"""

_NEWEST = (datetime.max.replace(tzinfo=UTC), 0, 0, 0)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = re.compile(r"(\d{1,17})-(\d{1,6})-(\d{1,18})-(\d{1,9})", re.ASCII)


async def members_of(
    session: Session, schema: str, workspace: str, customer: str, program: str | None = None
) -> list[MemberView]:
    """List the programs in which a customer has entries, or the one program asked for."""
    query = sql.SQL(_MEMBERS).format(sql.Identifier(schema, "members"))
    parameters = (workspace, rows.customer_uuid(customer), program, program)
    found = await (await session.execute(query, parameters)).fetchall()
    return [
        MemberView(
            program=row[0],
            customer=customer,
            points=_points(*row[1:]),
        )
        for row in found
    ]


async def member(
    session: Session, schema: str, workspace: str, customer: str, program: str
) -> MemberView:
    """Find a member; one without entries has zeros."""
    found = await members_of(session, schema, workspace, customer, program)
    if found:
        return found[0]
    return MemberView(program=program, customer=customer, points=_points(0, 0, 0, 0))


async def entries(
    session: Session,
    schema: str,
    workspace: str,
    customer: str,
    program: str,
    *,
    limit: int,
    cursor: str | None = None,
) -> EntryPage:
    """List a member's entries, newest first.

    Raises:
        CursorError: the cursor is not one of ours.
    """
    query = sql.SQL(_ENTRIES).format(sql.Identifier(schema, "entries"))
    before = _NEWEST if cursor is None else _place(cursor)
    parameters = (workspace, rows.customer_uuid(customer), program, *before, limit + 1)
    found = await (await session.execute(query, parameters)).fetchall()
    listed = [entry_of(row) for row in found[:limit]]
    more = len(found) > limit
    return EntryPage(
        entries=[view(public_entry(entry)) for entry in listed],
        next_cursor=_cursor(listed[-1]) if more else None,
    )


async def entries_of_event(
    session: Session, schema: str, workspace: str, customer: str, program: str, fact: bytes
) -> list[EntryView]:
    """List what an event caused in a program, in order."""
    query = sql.SQL(_OF_EVENT).format(sql.Identifier(schema, "entries"))
    parameters = (workspace, rows.customer_uuid(customer), program, fact.hex())
    found = await (await session.execute(query, parameters)).fetchall()
    return [view(public_entry(entry_of(row))) for row in found]


async def totals(session: Session, schema: str, workspace: str, program: str) -> Totals:
    """Sum a program up over all members."""
    query = sql.SQL(_TOTALS).format(sql.Identifier(schema, "members"))
    row = await (await session.execute(query, (workspace, program))).fetchone()
    assert row is not None, "an aggregate answers one row"
    return Totals(
        program=program,
        members=row[0],
        issued=row[1],
        held=row[2],
        spent=row[3],
        expired=row[4],
        earned=row[5],
        adjusted=row[6],
        reversed=row[7],
    )


async def decided(
    session: Session, schema: str, requests: Collection[bytes]
) -> dict[bytes, list[Decided]]:
    """Find what was decided of requests, by their keys; what is not decided is left out."""
    query = sql.SQL(_OUTCOMES).format(sql.Identifier(schema, "outcomes"))
    found: dict[bytes, list[Decided]] = {}
    for request, *columns in await (
        await session.execute(query, (binary.uuids(requests),))
    ).fetchall():
        found.setdefault(request, []).append(_decided(*columns))
    return found


def _decided(
    customer: bytes, program: str, digest: str, answer: str, partition: int, offset: int
) -> Decided:
    position = f"{CUSTOMER_EVENTS}/{partition}/{offset}"
    match decode_answer(answer):
        case Granted(entry=entry):
            return Decided(digest=digest, position=position, answer=view(entry))
        case Joined() as joined:
            points = _points(joined.available, joined.pending, joined.spent, joined.expired)
            member_id = binary.customer_id(customer)
            told = MemberView(program=program, customer=member_id, points=points)
            return Decided(digest=digest, position=position, answer=told)
        case Refused() as refused:
            return Decided(digest=digest, position=position, answer=refused)


def _points(available: int, pending: int, spent: int, expired: int) -> Points:
    lifetime = available + pending + spent + expired
    return Points(
        available=available, pending=pending, spent=spent, expired=expired, lifetime=lifetime
    )


def view(entry: LoyaltyEntry) -> EntryView:
    """Return an entry with the postings of its transfers."""
    return EntryView(
        id=entry.id,
        program=entry.program,
        customer=entry.customer,
        kind=entry.kind,
        points=entry.points,
        at=entry.at.isoformat().replace("+00:00", "Z"),
        rule=entry.rule,
        revision=entry.revision,
        caused_by=entry.caused_by,
        reverses=entry.reverses,
        shortfall=entry.shortfall,
        position=entry.position,
        postings=[
            posting
            for transfer in entry.transfers
            for posting in (
                Posting(account=transfer.debit, points=-transfer.points),
                Posting(account=transfer.credit, points=transfer.points),
            )
        ],
    )


def _cursor(entry: Entry) -> str:
    at = (entry.at - _BEGINNING) // _MICROSECOND
    return f"{at}-{entry.partition}-{entry.offset}-{entry.place}"


def _place(cursor: str) -> tuple[datetime, int, int, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise CursorError(cursor)
    at, partition, offset, place = map(int, match.groups())
    try:
        return _BEGINNING + at * _MICROSECOND, partition, offset, place
    except OverflowError as error:
        raise CursorError(cursor) from error
