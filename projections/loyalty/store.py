"""The ledger's rows: read by sets before a batch is folded, written by sets after.

Guarantee: never a statement per event. Entries and lots are only ever added; balances, profiles and
what remains of a lot are changed by one statement each.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from struct import Struct
from typing import Any, LiteralString

import msgspec

from contracts import codec
from contracts.effects import EntryKind, Transfer
from contracts.identifiers import FactKey
from projections.kernel import binary
from projections.kernel.projection import Step
from projections.kernel.tables import Table
from projections.loyalty import outcome_rows, used
from projections.loyalty.entries import Customer, Entry, EntryKey, Member
from projections.loyalty.ledger import Balance, Lot
from projections.loyalty.model import NewLot, Profile, WorkingSet, look_at
from services.runtime.postgres import Session

_CUSTOMERS: LiteralString = """
SELECT k.workspace, uuid_send(k.customer), p.created_at, p.metadata::text, m.program, m.available,
    m.pending, m.spent, m.expired, m.earned, m.adjusted, m.reversed
FROM unnest(%s, %s) AS k (workspace, customer)
LEFT JOIN profiles p USING (workspace, customer)
LEFT JOIN members m USING (workspace, customer)"""
_ENTRIES: LiteralString = """
SELECT e.workspace, e.customer::text, e.entry::text, e.program, e.kind, e.points, e.shortfall, e.at,
    e.rule, e.revision, e.fact::text, e.reverses::text, e.partition, e.record_offset, e.place,
    e.transfers, e.drawn
FROM unnest(%s, %s, %s) AS k (workspace, customer, entry)
JOIN entries e USING (workspace, customer, entry)"""
_LOTS: LiteralString = """
SELECT l.workspace, uuid_send(l.customer), l.program, uuid_send(l.lot), l.granted, l.remaining,
    l.expires_at, l.partition, l.record_offset, l.place
FROM unnest(%s, %s, %s) AS k (workspace, customer, program)
JOIN lots l USING (workspace, customer, program) WHERE l.remaining > 0
UNION
SELECT l.workspace, uuid_send(l.customer), l.program, uuid_send(l.lot), l.granted, l.remaining,
    l.expires_at, l.partition, l.record_offset, l.place
FROM unnest(%s, %s, %s) AS k (workspace, customer, lot)
JOIN lots l USING (workspace, customer, lot)"""

_NEW_PROFILES = Table(
    "profiles", "workspace text, customer uuid, created_at timestamptz, metadata jsonb"
)
_CHANGED_PROFILES: LiteralString = """
UPDATE profiles p SET metadata = n.metadata
FROM unnest(%s, %s, %s::jsonb[]) AS n (workspace, customer, metadata)
WHERE p.workspace = n.workspace AND p.customer = n.customer"""
_NEW_MEMBERS = Table(
    "members",
    "customer uuid, available bigint, pending bigint, spent bigint, expired bigint, earned bigint,"
    " adjusted bigint, reversed bigint, workspace text, program text",
)
_CHANGED_MEMBERS: LiteralString = """
UPDATE members m SET available = n.available, pending = n.pending, spent = n.spent,
    expired = n.expired, earned = n.earned, adjusted = n.adjusted, reversed = n.reversed
FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    AS n (workspace, customer, program, available, pending, spent, expired, earned, adjusted,
        reversed)
WHERE m.workspace = n.workspace AND m.customer = n.customer AND m.program = n.program"""
_NEW_ENTRIES = Table(
    "entries",
    "customer uuid, entry uuid, fact uuid, points bigint, shortfall bigint, at timestamptz,"
    " revision bigint, partition integer, record_offset bigint, place integer, workspace text,"
    " program text, kind text, rule text, transfers text, reverses uuid, drawn text",
)
_NEW_LOTS = Table(
    "lots",
    "customer uuid, lot uuid, granted bigint, remaining bigint, partition integer,"
    " record_offset bigint, place integer, workspace text, program text, expires_at timestamptz",
)
_CHANGED_LOTS: LiteralString = """
UPDATE lots l SET remaining = n.remaining
FROM unnest(%s, %s, %s, %s) AS n (workspace, customer, lot, remaining)
WHERE l.workspace = n.workspace AND l.customer = n.customer AND l.lot = n.lot"""

# Columns of fixed width in the order of the tables above, each after its length; the count of
# all columns goes first.
_member = Struct(">hi16siqiqiqiqiqiqiq").pack
_entry = Struct(">hi16si16si16siqiqiqiqiiiqii").pack
_lot = Struct(">hi16si16siqiqiiiqii").pack
_MEMBER_COLUMNS, _ENTRY_COLUMNS, _LOT_COLUMNS = 10, 17, 10
_NEITHER = binary.NULL * 2
"""The columns of an entry that reverses none and draws on no lot."""

_decode_transfers = msgspec.json.Decoder(tuple[Transfer, ...]).decode
_decode_drawn = msgspec.json.Decoder(tuple[tuple[str, int], ...]).decode


async def load(session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
    """Read what these steps may touch: balances always, lots and entries where points go back."""
    await load_customers(session, working, {(s.record.workspace, s.record.subject) for s in steps})
    wanted: set[EntryKey] = set()
    for step in steps:
        wanted.update(look_at(working, step))
    if wanted:
        await _load_entries(session, working, wanted)
    await used.load(session, working.uses)
    await outcome_rows.load(session, working, steps)
    if working.needs_lots:
        await load_lots(session, working)


async def load_customers(
    session: Session, working: WorkingSet, named: Collection[Customer]
) -> None:
    """Read profiles and balances of customers who are not in memory yet."""
    unknown = [each for each in named if each not in working.profiles]
    if not unknown:
        return
    keys = _customer_keys(unknown)
    for workspace, key, created_at, metadata, program, *amounts in await _rows(
        session, _CUSTOMERS, keys
    ):
        customer = (workspace, binary.customer_id(key))
        if created_at is not None and customer not in working.profiles:
            working.profiles[customer] = Profile(
                created_at=created_at, metadata=codec.decode_object(metadata.encode())
            )
            working.stored_profiles.add(customer)
        if program is None:
            continue  # a member may have no profile: requests tell none
        member = (*customer, program)
        working.balances[member] = Balance(
            available=amounts[0],
            pending=amounts[1],
            spent=amounts[2],
            expired=amounts[3],
            earned=amounts[4],
            adjusted=amounts[5],
            reversed=amounts[6],
        )
        working.stored_balances.add(member)


async def _load_entries(
    session: Session, working: WorkingSet, wanted: Collection[EntryKey]
) -> None:
    parameters = (
        *_customer_keys([(workspace, customer) for workspace, customer, _ in wanted]),
        binary.uuids([entry for _, _, entry in wanted]),
    )
    for row in await _rows(session, _ENTRIES, parameters):
        entry = entry_of(row)
        working.entries[entry.member[0], entry.member[1], entry.id] = entry


async def load_lots(session: Session, working: WorkingSet) -> None:
    """Read the open lots of members that may lose points, and those that entries drew from."""
    drawn = [(entry.member, lot) for entry in working.entries.values() for lot, _ in entry.drawn]
    parameters = (
        *_member_keys(list(working.needs_lots)),
        *_customer_keys([(member[0], member[1]) for member, _ in drawn]),
        binary.uuids([lot for _, lot in drawn]),
    )
    for row in await _rows(session, _LOTS, parameters):
        workspace, key, program, lot, granted, remaining, expires_at, *order = row
        known = Lot(
            id=lot,
            granted=granted,
            remaining=remaining,
            expires_at=expires_at,
            order=(order[0], order[1], order[2]),
        )
        member = (workspace, binary.customer_id(key), program)
        working.lots.setdefault(member, {})[known.id] = known
        working.stored_lots[known.id] = remaining


async def write(session: Session, working: WorkingSet) -> None:
    """Write what the batch changed, inside the kernel's transaction."""
    await _write_profiles(session, working)
    await _write_members(session, working)
    await _NEW_ENTRIES.add(session, list(_spell_entries(working.new_entries)))
    await _NEW_LOTS.add(session, [_spell_lot(each) for each in working.new_lots])
    await _write_changed_lots(session, working)
    await outcome_rows.write(session, working)
    working.stored_profiles |= working.changed_profiles
    working.stored_balances |= working.changed_balances
    working.end_batch()


async def _write_profiles(session: Session, working: WorkingSet) -> None:
    fresh = working.changed_profiles - working.stored_profiles
    spelled = [_spell_profile(customer, working.profiles[customer]) for customer in fresh]
    await _NEW_PROFILES.add(session, spelled)
    known = list(working.changed_profiles - fresh)
    if known:
        metadata = [codec.encode(working.profiles[each].metadata).decode() for each in known]
        await session.execute(_CHANGED_PROFILES, (*_customer_keys(known), metadata))


def _spell_profile(customer: Customer, profile: Profile) -> bytes:
    return b"".join(
        (
            b"\0\4",
            binary.text(customer[0]),
            binary.uuid(binary.customer_key(customer[1])),
            binary.instant(profile.created_at),
            binary.jsonb(codec.encode(profile.metadata)),
        )
    )


async def _write_members(session: Session, working: WorkingSet) -> None:
    fresh = working.changed_balances - working.stored_balances
    spelled = [_spell_member(member, working.balances[member]) for member in fresh]
    await _NEW_MEMBERS.add(session, spelled)
    known = list(working.changed_balances - fresh)
    if known:
        columns = zip(*(_amounts(working.balances[member]) for member in known), strict=True)
        parameters = (*_member_keys(known), *(binary.bigints(column) for column in columns))
        await session.execute(_CHANGED_MEMBERS, parameters)


def _amounts(balance: Balance) -> tuple[int, int, int, int, int, int, int]:
    return (
        balance.available,
        balance.pending,
        balance.spent,
        balance.expired,
        balance.earned,
        balance.adjusted,
        balance.reversed,
    )


def _spell_member(member: Member, balance: Balance) -> bytes:
    fixed = _member(
        _MEMBER_COLUMNS, 16, binary.customer_key(member[1]), 8, balance.available,
        8, balance.pending, 8, balance.spent, 8, balance.expired, 8, balance.earned,
        8, balance.adjusted, 8, balance.reversed,
    )  # fmt: skip
    return fixed + binary.name(member[0]) + binary.name(member[2])


async def _write_changed_lots(session: Session, working: WorkingSet) -> None:
    changed = [
        (member, lot)
        for member, lots in working.lots.items()
        for lot in lots.values()
        if lot.id in working.stored_lots and working.stored_lots[lot.id] != lot.remaining
    ]
    if changed:
        await session.execute(
            _CHANGED_LOTS,
            (
                *_customer_keys([(member[0], member[1]) for member, _ in changed]),
                binary.uuids([lot.id for _, lot in changed]),
                binary.bigints(lot.remaining for _, lot in changed),
            ),
        )


def _spell_lot(new: NewLot) -> bytes:
    lot, (workspace, customer, program) = new.lot, new.member
    fixed = _lot(
        _LOT_COLUMNS, 16, binary.customer_key(customer), 16, lot.id, 8, lot.granted,
        8, lot.remaining, 4, lot.order[0], 8, lot.order[1], 4, lot.order[2],
    )  # fmt: skip
    expires_at = binary.NULL if lot.expires_at is None else binary.instant(lot.expires_at)
    return fixed + binary.name(workspace) + binary.name(program) + expires_at


def _spell_entries(entries: Sequence[Entry]) -> Iterator[bytes]:
    at, at_micros = None, 0
    for entry in entries:
        if entry.at is not at:
            at, at_micros = entry.at, binary.micros(entry.at)
        yield _spell_entry(entry, at_micros)


def _spell_entry(entry: Entry, at_micros: int) -> bytes:
    workspace, customer, program = entry.member
    fixed = _entry(
        _ENTRY_COLUMNS, 16, binary.customer_key(customer), 16, entry.id, 16, entry.fact,
        8, entry.points, 8, entry.shortfall, 8, at_micros, 8, entry.revision,
        4, entry.partition, 8, entry.offset, 4, entry.place,
    )  # fmt: skip
    names = _names(workspace, program, entry.kind, entry.rule)
    transfers = binary.raw(codec.encode(entry.transfers))
    if entry.reverses is None and not entry.drawn:
        return fixed + names + transfers + _NEITHER
    drawn = codec.encode([(lot.hex(), points) for lot, points in entry.drawn])
    return b"".join(
        (
            fixed,
            names,
            transfers,
            binary.uuid(entry.reverses),
            binary.raw(drawn) if entry.drawn else binary.NULL,
        )
    )


@lru_cache(binary.NAMES_MAX)
def _names(*names: str) -> bytes:
    return b"".join(map(binary.text, names))


def entry_of(row: Sequence[object]) -> Entry:
    """Read an entry from the columns of ``ENTRY_COLUMNS``."""
    found = msgspec.convert(tuple(row), _EntryRow)
    drawn = () if found.drawn is None else _decode_drawn(found.drawn)
    return Entry(
        id=_bytes(found.entry),
        member=(found.workspace, binary.customer_id(_bytes(found.customer)), found.program),
        kind=found.kind,
        points=found.points,
        shortfall=found.shortfall,
        at=found.at,
        rule=found.rule,
        revision=found.revision,
        fact=FactKey(_bytes(found.fact)),
        reverses=None if found.reverses is None else _bytes(found.reverses),
        partition=found.partition,
        offset=found.offset,
        place=found.place,
        transfers=_decode_transfers(found.transfers),
        drawn=tuple((bytes.fromhex(lot), points) for lot, points in drawn),
    )


class _EntryRow(msgspec.Struct, array_like=True, frozen=True):
    workspace: str
    customer: str
    entry: str
    program: str
    kind: EntryKind
    points: int
    shortfall: int
    at: datetime
    rule: str
    revision: int
    fact: str
    reverses: str | None
    partition: int
    offset: int
    place: int
    transfers: str
    drawn: str | None


async def _rows(
    session: Session, statement: LiteralString, parameters: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    return await (await session.execute(statement, parameters)).fetchall()


def _customer_keys(customers: Sequence[Customer]) -> tuple[binary.TextArray, binary.UuidArray]:
    return (
        binary.texts([workspace for workspace, _ in customers]),
        binary.uuids([binary.customer_key(customer) for _, customer in customers]),
    )


def _member_keys(
    members: Sequence[Member],
) -> tuple[binary.TextArray, binary.UuidArray, binary.TextArray]:
    workspaces, customers = _customer_keys([(member[0], member[1]) for member in members])
    return workspaces, customers, binary.texts([member[2] for member in members])


def _bytes(digits: str) -> bytes:
    return bytes.fromhex(digits.replace("-", ""))
