"""The ledger's rows: read by sets before a batch is folded, written by sets after.

Guarantee: never a statement per event. Entries and lots are only ever added; balances, profiles and
what remains of a lot are changed by one statement each.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, LiteralString

import msgspec

from contracts import codec
from contracts.conditions import CustomerFacts, Facts
from contracts.effects import EntryKind, Transfer
from projections.kernel import rows
from projections.kernel.projection import Step
from projections.loyalty import model
from projections.loyalty.ledger import Balance, Lot
from projections.loyalty.model import Customer, Entry, EntryKey, Member, Profile, WorkingSet
from services.runtime.postgres import Session

_PROFILES: LiteralString = """
SELECT p.workspace, p.customer::text, p.created_at, p.metadata::text
FROM unnest(%s::text[], %s::uuid[]) AS k (workspace, customer)
JOIN profiles p USING (workspace, customer)"""
_MEMBERS: LiteralString = """
SELECT m.workspace, m.customer::text, m.program, m.available, m.pending, m.spent, m.expired,
    m.earned, m.adjusted, m.reversed
FROM unnest(%s::text[], %s::uuid[]) AS k (workspace, customer)
JOIN members m USING (workspace, customer)"""
_ENTRIES: LiteralString = """
SELECT e.workspace, e.customer::text, e.entry::text, e.program, e.kind, e.points, e.shortfall, e.at,
    e.rule, e.revision, e.fact::text, e.reverses::text, e.partition, e.record_offset, e.place,
    e.transfers::text, e.drawn::text
FROM unnest(%s::text[], %s::uuid[], %s::uuid[]) AS k (workspace, customer, entry)
JOIN entries e USING (workspace, customer, entry)"""
_LOTS: LiteralString = """
SELECT l.workspace, l.customer::text, l.program, l.lot::text, l.granted, l.remaining, l.expires_at,
    l.record_offset, l.place
FROM unnest(%s::text[], %s::uuid[], %s::text[]) AS k (workspace, customer, program)
JOIN lots l USING (workspace, customer, program) WHERE l.remaining > 0
UNION
SELECT l.workspace, l.customer::text, l.program, l.lot::text, l.granted, l.remaining, l.expires_at,
    l.record_offset, l.place
FROM unnest(%s::text[], %s::uuid[], %s::uuid[]) AS k (workspace, customer, lot)
JOIN lots l USING (workspace, customer, lot)"""

_NEW_PROFILES: LiteralString = (
    "COPY profiles (workspace, customer, created_at, metadata) FROM STDIN"
)
_CHANGED_PROFILES: LiteralString = """
UPDATE profiles p SET metadata = n.metadata
FROM unnest(%s::text[], %s::uuid[], %s::jsonb[]) AS n (workspace, customer, metadata)
WHERE p.workspace = n.workspace AND p.customer = n.customer"""
_NEW_MEMBERS: LiteralString = """
COPY members (workspace, customer, program, available, pending, spent, expired, earned, adjusted,
    reversed) FROM STDIN"""
_CHANGED_MEMBERS: LiteralString = """
UPDATE members m SET available = n.available, pending = n.pending, spent = n.spent,
    expired = n.expired, earned = n.earned, adjusted = n.adjusted, reversed = n.reversed
FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS n (workspace, customer, program, available, pending, spent, expired, earned, adjusted,
        reversed)
WHERE m.workspace = n.workspace AND m.customer = n.customer AND m.program = n.program"""
_NEW_ENTRIES: LiteralString = """
COPY entries (workspace, customer, entry, program, kind, points, shortfall, at, rule, revision,
    fact, reverses, partition, record_offset, place, transfers, drawn) FROM STDIN"""
_NEW_LOTS: LiteralString = """
COPY lots (workspace, customer, lot, program, granted, remaining, expires_at, partition,
    record_offset, place) FROM STDIN"""
_CHANGED_LOTS: LiteralString = """
UPDATE lots l SET remaining = n.remaining
FROM unnest(%s::text[], %s::uuid[], %s::uuid[], %s::bigint[])
    AS n (workspace, customer, lot, remaining)
WHERE l.workspace = n.workspace AND l.customer = n.customer AND l.lot = n.lot"""

_decode_transfers = msgspec.json.Decoder(tuple[Transfer, ...]).decode
_decode_drawn = msgspec.json.Decoder(tuple[tuple[str, int], ...]).decode


async def load(session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
    """Read what these steps may touch: balances always, lots and entries where points go back."""
    await _load_customers(session, working, steps)
    wanted: set[EntryKey] = set()
    for step in steps:
        wanted.update(_look_at(working, step))
    if wanted:
        await _load_entries(session, working, wanted)
    if working.needs_lots:
        await _load_lots(session, working)


def _look_at(working: WorkingSet, step: Step) -> list[EntryKey]:
    """See which members may lose points, and which entries may be reversed."""
    change = step.change
    if change is None:
        return []
    workspace, customer = step.record.workspace, step.record.subject
    after = change.after
    if after is not None and after.content is not None and not after.content.historical:
        event = model.event_facts(after)
        working.event_facts[step.offset] = event
        facts = Facts(customer=CustomerFacts(), event=event, now=after.occurred_at)
        for program in model.may_take(step.judged, after.content.event, facts):
            working.needs_lots.add((workspace, customer, program))
    if change.before is None:
        return []
    found = list(model.caused(change, step.judged))
    working.needs_lots.update((workspace, customer, program) for program, _, _ in found)
    return [(workspace, customer, entry) for _, _, entry in found]


async def _load_customers(session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
    named = {(step.record.workspace, step.record.subject) for step in steps}
    unknown = sorted(customer for customer in named if customer not in working.profiles)
    if not unknown:
        return
    keys = _customer_keys(unknown)
    for workspace, digits, created_at, metadata in await _rows(session, _PROFILES, keys):
        customer = (workspace, rows.customer_id(digits))
        working.profiles[customer] = Profile(
            created_at=created_at, metadata=codec.decode_object(metadata.encode())
        )
        working.stored_profiles.add(customer)
    for workspace, digits, program, *amounts in await _rows(session, _MEMBERS, keys):
        member = (workspace, rows.customer_id(digits), program)
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
    keys = (
        *_customer_keys([(workspace, customer) for workspace, customer, _ in wanted]),
        rows.array(entry.hex() for _, _, entry in wanted),
    )
    for row in await _rows(session, _ENTRIES, keys):
        entry = entry_of(row)
        working.entries[entry.member[0], entry.member[1], entry.id] = entry


async def _load_lots(session: Session, working: WorkingSet) -> None:
    drawn = [
        (entry.member[0], entry.member[1], lot)
        for entry in working.entries.values()
        for lot, _ in entry.drawn
    ]
    members = sorted(working.needs_lots)
    parameters = (
        *_customer_keys([(workspace, customer) for workspace, customer, _ in members]),
        rows.text_array(program for _, _, program in members),
        *_customer_keys([(workspace, customer) for workspace, customer, _ in drawn]),
        rows.array(lot.hex() for _, _, lot in drawn),
    )
    for row in await _rows(session, _LOTS, parameters):
        workspace, digits, program, lot, granted, remaining, expires_at, offset, place = row
        known = Lot(
            id=_bytes(lot),
            granted=granted,
            remaining=remaining,
            expires_at=expires_at,
            order=(offset, place),
        )
        member = (workspace, rows.customer_id(digits), program)
        working.lots.setdefault(member, {})[known.id] = known
        working.stored_lots[known.id] = remaining


async def write(session: Session, working: WorkingSet) -> None:
    """Write what the batch changed, inside the kernel's transaction."""
    await _write_profiles(session, working)
    await _write_members(session, working)
    await rows.copy(session, _NEW_ENTRIES, [_spell_entry(each) for each in working.new_entries])
    await _write_lots(session, working)
    working.stored_profiles |= working.changed_profiles
    working.stored_balances |= working.changed_balances
    working.end_batch()


async def _write_profiles(session: Session, working: WorkingSet) -> None:
    fresh = working.changed_profiles - working.stored_profiles
    await rows.copy(
        session,
        _NEW_PROFILES,
        [_spell_profile(customer, working.profiles[customer]) for customer in sorted(fresh)],
    )
    known = sorted(working.changed_profiles - fresh)
    if known:
        metadata = [codec.encode(working.profiles[each].metadata).decode() for each in known]
        await session.execute(_CHANGED_PROFILES, (*_customer_keys(known), metadata))


def _spell_profile(customer: Customer, profile: Profile) -> str:
    return (
        f"{customer[0]}\t{rows.customer_uuid(customer[1])}\t{profile.created_at.isoformat()}"
        f"\t{rows.json_text(codec.encode(profile.metadata))}"
    )


async def _write_members(session: Session, working: WorkingSet) -> None:
    fresh = working.changed_balances - working.stored_balances
    await rows.copy(
        session,
        _NEW_MEMBERS,
        [_spell_member(member, working.balances[member]) for member in sorted(fresh)],
    )
    known = sorted(working.changed_balances - fresh)
    if known:
        columns = zip(*(_amounts(working.balances[member]) for member in known), strict=True)
        await session.execute(
            _CHANGED_MEMBERS,
            (*_member_keys(known), *(rows.array(map(str, column)) for column in columns)),
        )


def _amounts(balance: Balance) -> tuple[int, ...]:
    return (
        balance.available,
        balance.pending,
        balance.spent,
        balance.expired,
        balance.earned,
        balance.adjusted,
        balance.reversed,
    )


def _spell_member(member: Member, balance: Balance) -> str:
    amounts = "\t".join(map(str, _amounts(balance)))
    return f"{member[0]}\t{rows.customer_uuid(member[1])}\t{member[2]}\t{amounts}"


async def _write_lots(session: Session, working: WorkingSet) -> None:
    partition = {entry.id: entry.partition for entry in working.new_entries}
    await rows.copy(
        session,
        _NEW_LOTS,
        [_spell_lot(member, lot, partition[lot.id]) for member, lot in working.new_lots],
    )
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
                rows.array(lot.id.hex() for _, lot in changed),
                rows.array(str(lot.remaining) for _, lot in changed),
            ),
        )


def _spell_lot(member: Member, lot: Lot, partition: int) -> str:
    return (
        f"{member[0]}\t{rows.customer_uuid(member[1])}\t{lot.id.hex()}\t{member[2]}\t{lot.granted}"
        f"\t{lot.remaining}\t{rows.optional_time(lot.expires_at)}\t{partition}\t{lot.order[0]}"
        f"\t{lot.order[1]}"
    )


def _spell_entry(entry: Entry) -> str:
    workspace, customer, program = entry.member
    reverses = rows.NULL if entry.reverses is None else entry.reverses.hex()
    drawn = rows.NULL
    if entry.drawn:
        drawn = codec.encode([(lot.hex(), points) for lot, points in entry.drawn]).decode()
    return (
        f"{workspace}\t{rows.customer_uuid(customer)}\t{entry.id.hex()}\t{program}\t{entry.kind}"
        f"\t{entry.points}\t{entry.shortfall}\t{entry.at.isoformat()}\t{entry.rule}"
        f"\t{entry.revision}\t{entry.fact.hex()}\t{reverses}\t{entry.partition}\t{entry.offset}"
        f"\t{entry.place}\t{codec.encode(entry.transfers).decode()}\t{drawn}"
    )


def entry_of(row: Sequence[object]) -> Entry:
    """Read an entry from the columns of ``ENTRY_COLUMNS``."""
    found = msgspec.convert(tuple(row), _EntryRow)
    drawn = () if found.drawn is None else _decode_drawn(found.drawn)
    return Entry(
        id=_bytes(found.entry),
        member=(found.workspace, rows.customer_id(found.customer), found.program),
        kind=found.kind,
        points=found.points,
        shortfall=found.shortfall,
        at=found.at,
        rule=found.rule,
        revision=found.revision,
        fact=_bytes(found.fact),
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


def _customer_keys(customers: Sequence[Customer]) -> tuple[str, str]:
    return (
        rows.text_array(workspace for workspace, _ in customers),
        rows.array(rows.customer_uuid(customer) for _, customer in customers),
    )


def _member_keys(members: Sequence[Member]) -> tuple[str, str, str]:
    workspaces, customers = _customer_keys([(member[0], member[1]) for member in members])
    return workspaces, customers, rows.text_array(member[2] for member in members)


def _bytes(digits: str) -> bytes:
    return bytes.fromhex(digits.replace("-", ""))
