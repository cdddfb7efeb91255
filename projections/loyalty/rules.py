"""What rules give for a fact, as far as the fact alone tells. Pure.

Guarantee: each rule is measured once a fact; what it gives depends on the definitions that judge
the fact and on the fact, only whether it holds may depend on the customer too.
"""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import msgspec

from contracts import codec
from contracts.conditions import CustomerFacts, EventFacts, Facts
from contracts.definitions.catalogue import Snapshot
from contracts.definitions.loyalty_programs import EarningRule, LoyaltyProgram
from contracts.events import CustomEvent
from contracts.versions import Change, Fact
from projections.loyalty.entries import Series, series_of
from projections.loyalty.limits import Bound, bounds


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A rule of a program, and what derives the ids of its entries."""

    program: LoyaltyProgram
    rule: EarningRule
    entries: Series


class Award(msgspec.Struct, frozen=True, gc=False):
    """What a rule gives if it holds; never zero, negative where a refund takes back.

    ``bounded`` are the limits that may leave less of it; a refund has none.
    """

    by: Standing
    points: int
    bounded: tuple[Bound, ...]


class Judged(msgspec.Struct, frozen=True, gc=False):
    """What the rules on one fact may give; ``facts`` lack the customer until it is known.

    ``takes_in`` names the programs in which points may be taken: those need the member's lots.
    """

    facts: Facts
    awards: list[Award]
    takes_in: list[str]


_NOBODY = CustomerFacts()


class Rules:
    """The rules of one snapshot, active ones by event over all programs."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._on: dict[str, list[Standing]] = {}
        self._zone = ZoneInfo(snapshot.workspace_settings.timezone)

    def judge(self, fact: Fact, content: CustomEvent) -> Judged | None:
        """Measure every rule on the fact; None where none gives anything."""
        on = self._on.get(content.event)
        if on is None:
            on = self._on[content.event] = list(self._standing(content.event))
        if not on:
            return None
        event = EventFacts(
            metadata=codec.decode_object(content.metadata),
            goal_value=content.goal_value,
            goal_type=content.goal_type,
            occurred_at=fact.occurred_at,
            referral_code=None if content.referral is None else content.referral.code,
        )
        facts = Facts(customer=_NOBODY, event=event, now=fact.occurred_at)
        awards = [
            Award(
                each,
                points,
                bounds(limits, facts.now, self._zone)
                if (limits := each.rule.limits) and points > 0
                else (),
            )
            for each in on
            if (points := _points_of(each.rule, facts))
        ]
        if not awards:
            return None
        return Judged(facts, awards, [each.by.program.name for each in awards if each.points < 0])

    def _standing(self, event: str) -> Iterator[Standing]:
        for program in self.snapshot.loyalty_programs.values():
            for rule in program.rules_on.get(event, ()):
                yield Standing(program, rule, series_of(program.name, rule.id))


def _points_of(rule: EarningRule, facts: Facts) -> int:
    """Points that a rule gives if it holds; 0 out of its period."""
    if rule.from_at is not None and facts.now < rule.from_at:
        return 0
    if rule.until_at is not None and facts.now >= rule.until_at:
        return 0
    return rule.award(facts)


def caused(change: Change, customer: str, snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    """Name the entries that the version before may have caused: program and entry id."""
    before = change.before
    if before is None:
        return
    for name, program in snapshot.loyalty_programs.items():
        for rule in program.rules:
            if before.content is None or rule.event == before.content.event:
                yield name, series_of(name, rule.id).id_of(customer, before)
