"""Folding facts into entries: what a version gives, what a correction takes back. Pure.

Guarantee: each version of a fact is judged by the definitions revision of its first version. What
a version caused is found by the entries' ids, which derive from program, rule, fact and version,
and is reversed exactly; nothing else is touched.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from contracts import codec
from contracts.codec import Json
from contracts.conditions import CustomerFacts, Facts
from contracts.definitions.catalogue import Snapshot
from contracts.definitions.loyalty_programs import EarningRule
from contracts.effects import LOYALTY_ENTRY
from contracts.events import EMPTY_OBJECT, CustomEvent, EventWithdrawn, ProfileChanged
from contracts.events import Profile as ToldProfile
from contracts.internal_events import InternalEvent
from contracts.profiles import merge_metadata, same_json
from contracts.requests import AdjustRequested, JoinRequested
from contracts.topics import LOYALTY_ENTRIES
from contracts.versions import Change, Fact
from projections.kernel.projection import Output, Step
from projections.loyalty import ledger
from projections.loyalty.entries import (
    Customer,
    Entry,
    EntryKey,
    Member,
    public_entry,
    reversal_id,
    transfers_of,
)
from projections.loyalty.ledger import Balance, Drawn, Lot
from projections.loyalty.limits import Uses
from projections.loyalty.outcomes import Outcome, RequestPlace
from projections.loyalty.rules import Judged, Rules, caused

MODEL_VERSION = 1
CUSTOMERS_MAX = 20_000
"""Customers whose rows a partition keeps in memory between batches: about 20 MB."""


class Profile(msgspec.Struct, kw_only=True, gc=False):
    """What rules may know of a customer: metadata, and when the customer was first heard of."""

    created_at: datetime
    metadata: dict[str, Json]


class NewLot(msgspec.Struct, frozen=True, gc=False):
    """A lot to be written."""

    member: Member
    lot: Lot


class WorkingSet:
    """One partition's rows in memory: balances and profiles stay, the rest is of one batch."""

    def __init__(self) -> None:
        self.profiles: dict[Customer, Profile] = {}
        self.balances: dict[Member, Balance] = {}
        self.lots: dict[Member, dict[bytes, Lot]] = {}
        self.entries: dict[EntryKey, Entry] = {}
        self.stored_profiles: set[Customer] = set()
        self.stored_balances: set[Member] = set()
        self.stored_lots: dict[bytes, int] = {}
        self.changed_profiles: set[Customer] = set()
        self.changed_balances: set[Member] = set()
        self.posted: list[Entry] = []
        """Entries of the record that is being applied: their index is their place."""
        self.new_entries: list[Entry] = []
        self.new_lots: list[NewLot] = []
        self.needs_lots: set[Member] = set()
        self.uses = Uses()
        self.outcomes: dict[RequestPlace, Outcome] = {}
        self.new_outcomes: list[Outcome] = []
        self._judged: dict[int, Judged | None] = {}
        self._rules: Rules | None = None

    def judge(self, offset: int, fact: Fact, snapshot: Snapshot) -> Judged | None:
        """Say what rules may give for the fact that a record makes stand, judged once a batch."""
        if offset in self._judged:
            return self._judged[offset]
        content = fact.content
        assert content is not None, "a fact that counts from now on comes with its content"
        rules = self._rules
        if rules is None or rules.snapshot is not snapshot:
            rules = self._rules = Rules(snapshot)
        judged = None if content.historical else rules.judge(fact, content)
        self._judged[offset] = judged
        return judged

    def end_batch(self) -> None:
        """Forget what belongs to one batch, once it is written."""
        for kept in (self.lots, self.entries, self._judged, self.stored_lots, self.outcomes):
            kept.clear()
        for kept in (self.changed_profiles, self.changed_balances, self.needs_lots):
            kept.clear()
        self.new_entries.clear()
        self.new_lots.clear()
        self.uses.end_batch()
        self.new_outcomes.clear()
        if len(self.profiles) > CUSTOMERS_MAX:
            for kept in (self.profiles, self.balances, self.stored_profiles, self.stored_balances):
                kept.clear()


def look_at(working: WorkingSet, step: Step) -> list[EntryKey]:
    """Note which members may lose points by a step; answer the entries that it may reverse."""
    change = step.change
    if change is None:
        return []
    workspace, customer = step.record.workspace, step.record.subject
    if change.after is not None:
        judged = working.judge(step.offset, change.after, step.judged)
        if judged is not None:
            if judged.takes_in:
                working.needs_lots.update((workspace, customer, each) for each in judged.takes_in)
            for award in judged.awards:
                if award.bounded:
                    member = (workspace, customer, award.by.program.name)
                    working.uses.want(member, award.by.entries, award.bounded)
    if change.before is None:
        return []
    found = list(caused(change, step.record.subject, step.judged))
    working.needs_lots.update((workspace, customer, program) for program, _ in found)
    return [(workspace, customer, entry) for _, entry in found]


def apply(working: WorkingSet, step: Step) -> Iterable[Output]:
    """Fold one record: merge the profile, reverse what stood, post what stands now."""
    customer = (step.record.workspace, step.record.subject)
    if step.merges_profile:
        _merge_profile(working, customer, step)
    change = step.change
    if change is None or (change.before is None and change.after is None):
        return ()
    posted = working.posted = []
    if change.before is not None:
        _reverse(working, step, change, change.before)
    if change.after is not None:
        _post(working, step, change.after)
    for entry in posted:
        if entry.points < 0:
            _forgive(working, step)
            break
    working.new_entries += posted
    return [output_of(step, entry) for entry in posted]


def take_back(working: WorkingSet, steps: Sequence[Step]) -> list[Output]:
    """Reverse what facts had caused that stand elsewhere now, as if one record said so."""
    posted = working.posted = []
    for step in steps:
        assert step.change is not None and step.change.before is not None, "each fact counted"
        _reverse(working, step, step.change, step.change.before)
    if any(entry.points < 0 for entry in posted):
        _forgive(working, steps[-1])
    working.new_entries += posted
    return [output_of(steps[-1], entry) for entry in posted]


def _merge_profile(working: WorkingSet, customer: Customer, step: Step) -> None:
    known = working.profiles.get(customer)
    if known is None:
        known = working.profiles[customer] = Profile(created_at=step.at, metadata={})
        working.changed_profiles.add(customer)
    told = _told_profile(step)
    if told is None or (told.metadata == EMPTY_OBJECT and not told.clears):
        return
    merged = merge_metadata(known.metadata, told)
    if not same_json(merged, known.metadata):
        known.metadata = merged
        working.changed_profiles.add(customer)


def _told_profile(step: Step) -> ToldProfile | None:
    match step.data:
        case CustomEvent(profile=profile) | ProfileChanged(profile=profile):
            return profile
        case EventWithdrawn() | AdjustRequested() | JoinRequested() | InternalEvent():
            return None


def _reverse(working: WorkingSet, step: Step, change: Change, before: Fact) -> None:
    workspace, customer = step.record.workspace, step.record.subject
    for program, candidate in caused(change, step.record.subject, step.judged):
        entry = working.entries.get((workspace, customer, candidate))
        if entry is None:
            continue
        balance = balance_of(working, entry.member)
        lots = working.lots.setdefault(entry.member, {})
        place = len(working.posted)
        drawn: Drawn = ()
        points = -entry.points
        if entry.points > 0:
            drawn = ledger.take(balance, lots, entry.points, first=entry.id)
            at = before.occurred_at
            working.uses.post(entry.member, entry.rule, at, times=-1, points=points)
        elif entry.points < 0:
            homeless = ledger.give_back(balance, lots, entry.drawn, points)
            if homeless:
                _new_lot(working, step, entry.member, reversal_id(entry.id), homeless, place)
        _add(
            working,
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
                transfers=transfers_of(points),
                drawn=drawn,
            ),
        )


def _post(working: WorkingSet, step: Step, fact: Fact) -> None:
    """Post what rules give for a fact, as far as their limits and the member's sums leave it."""
    judged = working.judge(step.offset, fact, step.judged)
    if judged is None:
        return
    workspace, customer = step.record.workspace, step.record.subject
    for award in judged.awards:
        standing = award.by
        rule, program = standing.rule, standing.program.name
        if rule.condition is not None and not _holds(working, rule, judged.facts, step):
            continue
        member = (workspace, customer, program)
        if standing.program.join == "explicit" and member not in working.balances:
            continue
        points = award.points
        if award.bounded:
            points = working.uses.left(member, rule.id, award.bounded, points)
            if not points:
                continue
        balance = balance_of(working, member)
        points = ledger.room(balance, points)
        if not points:
            continue
        identity = standing.entries.id_of(customer, fact)
        place = len(working.posted)
        drawn: Drawn = ()
        if points > 0:
            lot = Lot(id=identity, granted=points, remaining=points, order=order_of(step, place))
            ledger.earn(balance, lot)
            keep_lot(working, member, lot)
            if working.uses.known:
                working.uses.post(member, rule.id, fact.occurred_at, times=1, points=points)
        else:
            lots = working.lots.setdefault(member, {})
            drawn = ledger.take(balance, lots, -points, first=None)
        entry = Entry(
            id=identity,
            member=member,
            kind="earned" if points > 0 else "reversed",
            points=points,
            shortfall=0,
            at=step.at,
            rule=rule.id,
            revision=step.judged.revision,
            fact=fact.key,
            reverses=None,
            partition=step.partition,
            offset=step.offset,
            place=place,
            transfers=transfers_of(points),
            drawn=drawn,
        )
        _add(working, entry)


def _holds(working: WorkingSet, rule: EarningRule, facts: Facts, step: Step) -> bool:
    profile = working.profiles[step.record.workspace, step.record.subject]
    facts.customer = CustomerFacts(metadata=profile.metadata, created_at=profile.created_at)
    return rule.holds(facts)


def _new_lot(
    working: WorkingSet, step: Step, member: Member, identity: bytes, points: int, place: int
) -> None:
    """Make a lot for points given back that have none to go back to."""
    lot = Lot(id=identity, granted=points, remaining=points, order=order_of(step, place))
    keep_lot(working, member, lot)


def order_of(step: Step, place: int) -> tuple[int, int, int]:
    """Say where a lot stands among those that expire together."""
    return step.partition, step.offset, place


def keep_lot(working: WorkingSet, member: Member, lot: Lot) -> None:
    """Keep a new lot, to be written, and to be taken from by this batch."""
    working.new_lots.append(NewLot(member, lot))
    if member in working.needs_lots:
        working.lots.setdefault(member, {})[lot.id] = lot


def balance_of(working: WorkingSet, member: Member) -> Balance:
    """Find a member's sums, to be changed; the customer is a member from then on."""
    working.changed_balances.add(member)
    found = working.balances.get(member)
    if found is None:
        found = working.balances[member] = Balance()
    return found


def _add(working: WorkingSet, entry: Entry) -> None:
    working.posted.append(entry)
    if entry.member in working.needs_lots:
        working.entries[entry.member[0], entry.member[1], entry.id] = entry


def _forgive(working: WorkingSet, step: Step) -> None:
    """Forgive what this record left below zero in programs that refuse it, last entry first."""
    for place, entry in reversed(list(enumerate(working.posted))):
        if entry.points >= 0:
            continue
        program = step.judged.loyalty_programs.get(entry.member[2])
        if program is None or program.negative_balance == "allow":
            continue
        forgiven = ledger.forgive(balance_of(working, entry.member), -entry.points)
        if forgiven:
            points = entry.points + forgiven
            cut = msgspec.structs.replace(
                entry, points=points, shortfall=forgiven, transfers=transfers_of(points)
            )
            working.posted[place] = cut
            key = (entry.member[0], entry.member[1], entry.id)
            if key in working.entries:
                working.entries[key] = cut


def output_of(step: Step, entry: Entry) -> Output:
    """Make the record that tells of an entry."""
    public = public_entry(entry)
    return Output(
        topic=LOYALTY_ENTRIES,
        type=LOYALTY_ENTRY,
        id=public.id,
        customer=public.customer,
        time=public.at,
        data=codec.raw(public),
        cause=step,
    )
