"""Folding facts into entries: which rules fire, what a correction takes back. Pure.

Guarantee: each version of a fact is judged by the definitions revision of its first version. What
a version caused is found by the entries' ids, which derive from program, rule, fact and version,
and is reversed exactly; nothing else is touched.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

import msgspec

from contracts import codec
from contracts.codec import Json
from contracts.conditions import CustomerFacts, EventFacts, Facts
from contracts.definitions.catalogue import Snapshot
from contracts.definitions.loyalty_programs import EarningRule, LoyaltyProgram
from contracts.effects import LOYALTY_ENTRY, EntryKind, LoyaltyEntry, Transfer
from contracts.events import CustomEvent
from contracts.identifiers import derive, event_id
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS, LOYALTY_ENTRIES
from contracts.versions import Change, Fact
from projections.kernel.projection import Output, Step
from projections.loyalty import ledger
from projections.loyalty.ledger import Balance, Drawn, Lot

MODEL_VERSION = 1
CUSTOMERS_MAX = 20_000
"""Customers whose rows a partition keeps in memory between batches: about 20 MB."""

Customer = tuple[str, str]
"""Workspace and customer id."""
Member = tuple[str, str, str]
"""Workspace, customer id and program."""
EntryKey = tuple[str, str, bytes]
"""Workspace, customer id and entry."""


class Profile(msgspec.Struct, kw_only=True, gc=False):
    """What rules may know of a customer: metadata, and when the customer was first heard of."""

    created_at: datetime
    metadata: dict[str, Json]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry as the store keeps it; ``points`` signed from the member's side."""

    id: bytes
    member: Member
    kind: EntryKind
    points: int
    shortfall: int
    at: datetime
    rule: str
    revision: int
    fact: bytes
    reverses: bytes | None
    partition: int
    offset: int
    place: int
    transfers: tuple[Transfer, ...]
    drawn: Drawn


class Award(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one rule gives for one fact; never zero, negative where a refund takes back."""

    program: LoyaltyProgram
    rule: EarningRule
    points: int


class WorkingSet:
    """One partition's rows in memory: balances and profiles stay, the rest is of one batch."""

    def __init__(self) -> None:
        self.profiles: dict[Customer, Profile] = {}
        self.balances: dict[Member, Balance] = {}
        self.lots: dict[Member, dict[bytes, Lot]] = {}
        self.entries: dict[EntryKey, Entry] = {}
        self.event_facts: dict[int, EventFacts] = {}
        self.stored_profiles: set[Customer] = set()
        self.stored_balances: set[Member] = set()
        self.stored_lots: dict[bytes, int] = {}
        self.changed_profiles: set[Customer] = set()
        self.changed_balances: set[Member] = set()
        self.new_entries: list[Entry] = []
        self.new_lots: list[tuple[Member, Lot]] = []
        self.needs_lots: set[Member] = set()

    def end_batch(self) -> None:
        """Forget what belongs to one batch, once it is written."""
        for kept in (self.lots, self.entries, self.event_facts, self.stored_lots):
            kept.clear()
        for kept in (self.changed_profiles, self.changed_balances, self.needs_lots):
            kept.clear()
        self.new_entries.clear()
        self.new_lots.clear()
        if len(self.profiles) > CUSTOMERS_MAX:
            for kept in (self.profiles, self.balances, self.stored_profiles, self.stored_balances):
                kept.clear()


def event_facts(fact: Fact) -> EventFacts:
    """Return the event as rules see it."""
    content = fact.content
    assert content is not None, "a fact that counts from now on comes with its content"
    return EventFacts(
        metadata=codec.decode_object(content.metadata),
        goal_value=content.goal_value,
        goal_type=content.goal_type,
        occurred_at=fact.occurred_at,
        referral_code=None if content.referral is None else content.referral.code,
    )


def may_take(snapshot: Snapshot, event: str, facts: Facts) -> Iterator[str]:
    """Name the programs in which this event might take points: those need the member's lots."""
    for name, program in snapshot.loyalty_programs.items():
        for rule in program.rules_on.get(event, ()):
            if rule.per is not None and (rule.per.measure(facts) or 0) < 0:
                yield name


def caused(change: Change, snapshot: Snapshot) -> Iterator[tuple[str, EarningRule, bytes]]:
    """Name the entries that the version before may have caused: program, rule, entry id."""
    before = change.before
    if before is None:
        return
    for name, program in snapshot.loyalty_programs.items():
        for rule in program.rules:
            if before.content is None or rule.event == before.content.event:
                yield name, rule, entry_id(name, rule.id, before)


def entry_id(program: str, rule: str, fact: Fact) -> bytes:
    """Derive the id of what a rule grants for one version of a fact."""
    return derive("entry", program, rule, fact.key.hex(), str(fact.ordinal))


def reversal_id(entry: bytes) -> bytes:
    """Derive the id of the entry that reverses another: there is one at most."""
    return derive("reversal", entry.hex())


def awards(snapshot: Snapshot, event: str, facts: Facts) -> list[Award]:
    """Evaluate every rule on this event; each fires at most once, a result of zero has not."""
    fired: list[Award] = []
    for program in snapshot.loyalty_programs.values():
        for rule in program.rules_on.get(event, ()):
            points = points_of(rule, facts)
            if points:
                fired.append(Award(program=program, rule=rule, points=points))
    return fired


def points_of(rule: EarningRule, facts: Facts) -> int:
    """Points that a rule gives for these facts; 0 where it does not fire.

    Whole steps count, rounded toward zero once per event: a refund takes back by the same measure.
    """
    occurred_at = facts.now
    if rule.from_at is not None and occurred_at < rule.from_at:
        return 0
    if rule.until_at is not None and occurred_at >= rule.until_at:
        return 0
    if not rule.holds(facts):
        return 0
    if rule.per is None:
        return rule.points or 0
    return whole_steps(rule.per.measure(facts), rule.per.every) * rule.per.points


def whole_steps(measured: int | Decimal | None, every: Decimal) -> int:
    """Count the whole steps of ``every`` in a measure, toward zero; 0 for no measure."""
    if measured is None:
        return 0
    return int((Decimal(measured) / every).to_integral_value(rounding=ROUND_DOWN))


def apply(working: WorkingSet, step: Step) -> Iterable[Output]:
    """Fold one record: merge the profile, reverse what stood, post what stands now."""
    customer = (step.record.workspace, step.record.subject)
    if step.merges_profile:
        _merge_profile(working, customer, step)
    change = step.change
    if change is None or (change.before is None and change.after is None):
        return ()
    first_new = len(working.new_entries)
    if change.before is not None:
        _reverse(working, step, change)
    content = None if change.after is None else change.after.content
    if change.after is not None and content is not None and not content.historical:
        _post(working, step, change.after, content)
    _forgive(working, step, first_new)
    return [_output(step, entry) for entry in working.new_entries[first_new:]]


def _merge_profile(working: WorkingSet, customer: Customer, step: Step) -> None:
    known = working.profiles.get(customer)
    if known is None:
        known = working.profiles[customer] = Profile(created_at=step.at, metadata={})
        working.changed_profiles.add(customer)
    told = getattr(step.data, "profile", None)
    if told is None or bytes(told.metadata) == b"{}":
        return
    merged = merge_metadata(known.metadata, codec.decode_object(told.metadata))
    if merged != known.metadata:
        known.metadata = merged
        working.changed_profiles.add(customer)


def merge_metadata(known: Mapping[str, Json], told: Mapping[str, Json]) -> dict[str, Json]:
    """Merge metadata key by key; null removes a key."""
    merged = {**known, **told}
    return {key: value for key, value in merged.items() if value is not None}


def _reverse(working: WorkingSet, step: Step, change: Change) -> None:
    workspace, customer = step.record.workspace, step.record.subject
    for program, _, candidate in caused(change, step.judged):
        entry = working.entries.get((workspace, customer, candidate))
        if entry is None:
            continue
        balance = _balance(working, entry.member)
        lots = working.lots.setdefault(entry.member, {})
        place = len(working.new_entries)
        drawn: Drawn = ()
        points = -entry.points
        if entry.points > 0:
            drawn = ledger.take(balance, lots, entry.points, first=entry.id)
        elif entry.points < 0:
            homeless = ledger.give_back(balance, lots, entry.drawn, points)
            if homeless:
                _new_lot(working, step, entry.member, reversal_id(entry.id), homeless, place)
        _add(
            working,
            step,
            Entry(
                id=reversal_id(entry.id),
                member=(workspace, customer, program),
                kind="reversed",
                points=points,
                shortfall=0,
                at=step.at,
                rule=entry.rule,
                revision=entry.revision,
                fact=change.key,
                reverses=entry.id,
                partition=step.partition,
                offset=step.offset,
                place=place,
                transfers=_transfers(points),
                drawn=drawn,
            ),
        )


def _post(working: WorkingSet, step: Step, fact: Fact, content: CustomEvent) -> None:
    customer = (step.record.workspace, step.record.subject)
    snapshot = step.judged
    facts = _facts(working, customer, step.offset, fact)
    for award in awards(snapshot, content.event, facts):
        member = (*customer, award.program.name)
        balance = _balance(working, member)
        identity = entry_id(award.program.name, award.rule.id, fact)
        place = len(working.new_entries)
        drawn: Drawn = ()
        if award.points > 0:
            _grant(working, step, member, identity, award.points, place)
        else:
            lots = working.lots.setdefault(member, {})
            drawn = ledger.take(balance, lots, -award.points, first=None)
        _add(
            working,
            step,
            Entry(
                id=identity,
                member=member,
                kind="earned" if award.points > 0 else "reversed",
                points=award.points,
                shortfall=0,
                at=step.at,
                rule=award.rule.id,
                revision=snapshot.revision,
                fact=fact.key,
                reverses=None,
                partition=step.partition,
                offset=step.offset,
                place=place,
                transfers=_transfers(award.points),
                drawn=drawn,
            ),
        )


def _facts(working: WorkingSet, customer: Customer, offset: int, fact: Fact) -> Facts:
    known = working.event_facts.get(offset)
    profile = working.profiles[customer]
    return Facts(
        customer=CustomerFacts(metadata=profile.metadata, created_at=profile.created_at),
        event=event_facts(fact) if known is None else known,
        now=fact.occurred_at,
    )


def _grant(
    working: WorkingSet, step: Step, member: Member, identity: bytes, points: int, place: int
) -> None:
    lot = Lot(id=identity, granted=points, remaining=points, order=(step.offset, place))
    ledger.earn(_balance(working, member), lot)
    _keep_lot(working, member, lot)


def _new_lot(
    working: WorkingSet, step: Step, member: Member, identity: bytes, points: int, place: int
) -> None:
    """Make a lot for points given back that have none to go back to."""
    order = (step.offset, place)
    _keep_lot(working, member, Lot(id=identity, granted=points, remaining=points, order=order))


def _keep_lot(working: WorkingSet, member: Member, lot: Lot) -> None:
    working.new_lots.append((member, lot))
    if member in working.needs_lots:
        working.lots.setdefault(member, {})[lot.id] = lot


def _balance(working: WorkingSet, member: Member) -> Balance:
    working.changed_balances.add(member)
    found = working.balances.get(member)
    if found is None:
        found = working.balances[member] = Balance()
    return found


def _transfers(points: int) -> tuple[Transfer, ...]:
    if points > 0:
        return (Transfer("issued", "available", points),)
    if points < 0:
        return (Transfer("available", "issued", -points),)
    return ()


def _add(working: WorkingSet, step: Step, entry: Entry) -> None:
    working.new_entries.append(entry)
    if entry.member in working.needs_lots:
        working.entries[step.record.workspace, step.record.subject, entry.id] = entry


def _forgive(working: WorkingSet, step: Step, first_new: int) -> None:
    """Forgive what this record left below zero in programs that refuse it, last entry first."""
    for index in range(len(working.new_entries) - 1, first_new - 1, -1):
        entry = working.new_entries[index]
        program = step.judged.loyalty_programs.get(entry.member[2])
        if entry.points >= 0 or program is None or program.negative_balance == "allow":
            continue
        forgiven = ledger.forgive(_balance(working, entry.member), -entry.points)
        if forgiven:
            points = entry.points + forgiven
            cut = msgspec.structs.replace(
                entry, points=points, shortfall=forgiven, transfers=_transfers(points)
            )
            working.new_entries[index] = cut
            key = (entry.member[0], entry.member[1], entry.id)
            if key in working.entries:
                working.entries[key] = cut


def _output(step: Step, entry: Entry) -> Output:
    return Output(
        topic=LOYALTY_ENTRIES,
        type=LOYALTY_ENTRY,
        id="entry_" + entry.id.hex(),
        customer=step.record.subject,
        time=entry.at,
        data=codec.raw(public_entry(entry)),
        cause=step,
    )


def public_entry(entry: Entry) -> LoyaltyEntry:
    """Return an entry as it stands on the topic and in answers."""
    return LoyaltyEntry(
        id="entry_" + entry.id.hex(),
        program=entry.member[2],
        customer=entry.member[1],
        kind=entry.kind,
        points=entry.points,
        at=entry.at,
        rule=entry.rule,
        revision=entry.revision,
        caused_by=event_id(entry.fact),
        position=str(Position(CUSTOMER_EVENTS, entry.partition, entry.offset)),
        transfers=entry.transfers,
        reverses=None if entry.reverses is None else "entry_" + entry.reverses.hex(),
        shortfall=entry.shortfall,
    )
