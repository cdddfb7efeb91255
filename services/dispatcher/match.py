"""Which distributions a record sets off: the dispatcher's pure model.

Guarantee: a distribution fires at most once for a fact: at its first version, when that one counts,
is no backfill, and is no older than the distribution allows. It is judged by the definitions in
force at the record, and by the customer as it is after what the record itself brings.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from contracts.codec import JsonObject
from contracts.conditions import CustomerFacts, EventFacts, Facts
from contracts.definitions.catalogue import Snapshot
from contracts.definitions.distributions import Distribution
from contracts.events import CustomEvent
from contracts.profiles import ProfileState
from contracts.versions import Fact
from projections.kernel.projection import Step

FIRST = 1
"""Ordinal of a fact's first version."""

Rules = Mapping[str, tuple[Distribution, ...]]
"""Active distributions by the event that sets them off."""


def rules_of(snapshot: Snapshot) -> Rules:
    """Sort a snapshot's active distributions by their event, each in order of name."""
    rules: dict[str, tuple[Distribution, ...]] = {}
    for _, distribution in sorted(snapshot.distributions.items()):
        if distribution.active:
            event = distribution.event
            rules[event] = (*rules.get(event, ()), distribution)
    return rules


def first_version(step: Step) -> Fact | None:
    """Return the fact that a record tells for the first time, if it may set anything off."""
    change = step.change
    if change is None or change.outcome != "applied" or change.after is None:
        return None
    if change.after.ordinal != FIRST:
        return None
    if not isinstance(step.data, CustomEvent) or step.data.historical:
        return None
    return change.after


def firing(
    candidates: tuple[Distribution, ...],
    fact: Fact,
    event: CustomEvent,
    *,
    metadata: JsonObject,
    profile: ProfileState,
    created_at: datetime,
    at: datetime,
) -> Iterator[Distribution]:
    """Choose the distributions that a fact sets off.

    Args:
        candidates: those of its event.
        metadata: the event's, personal properties included.
        profile: the customer after the record.
        created_at: of the customer.
        at: logical time of the record's place.
    """
    facts: Facts | None = None
    for distribution in candidates:
        if at - fact.occurred_at > distribution.max_event_age:
            continue
        if distribution.condition is not None and facts is None:
            facts = _facts(fact, event, metadata, profile, created_at, at)
        if facts is None or distribution.holds(facts):
            yield distribution


def _facts(
    fact: Fact,
    event: CustomEvent,
    metadata: JsonObject,
    profile: ProfileState,
    created_at: datetime,
    at: datetime,
) -> Facts:
    return Facts(
        customer=CustomerFacts(
            metadata=profile.metadata,
            email=profile.email,
            name=profile.name,
            source_id=profile.source_id,
            phone=profile.phone,
            created_at=created_at,
        ),
        now=at,
        event=EventFacts(
            metadata=metadata,
            goal_value=event.goal_value,
            goal_type=event.goal_type,
            occurred_at=fact.occurred_at,
            referral_code=None if event.referral is None else event.referral.code,
        ),
    )
