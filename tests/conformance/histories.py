"""Histories that producers could have told: versions, deletions, restores, moves, profiles."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from contracts import codec
from contracts.events import (
    CustomEvent,
    EventData,
    LoyaltyMention,
    Profile,
    ProfileChanged,
    ReferralMention,
)
from contracts.identifiers import FactKey, event_id, fact_key
from contracts.requests import AdjustRequested, JoinRequested, Request
from tests.conformance.logs import START, WORKSPACE, Log, customer_number

CUSTOMERS = 5
HISTORY_MIN = 15
"""Short histories hardly ever meet one fact twice."""
HISTORY_MAX = 40
EVENTS = ("order.completed", "left_review")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a producer tells of a customer."""

    customer: int
    profile: Profile | None = None
    event: str | None = None
    external_id: str | None = None
    producer_id: str | None = None
    occurred_at: datetime | None = None
    deleted_at: datetime | UnsetType | None = UNSET
    metadata: dict[str, object] = {}
    goal_value: Decimal | None = None
    referral: str | None = None
    loyalty: str | None = None
    historical: bool = False
    request: Request | None = None
    idempotency_key: str | None = None
    after_ms: int = 1

    def data(self, number: int) -> EventData:
        """What stands in the record; ``number`` names a fact that its producer does not name."""
        if self.request is not None:
            return self.request
        if self.event is None:
            return ProfileChanged(profile=self.profile or Profile())
        key = fact_key(
            WORKSPACE, self.event, external_id=self.external_id, producer_id=self.producer_id
        )
        fresh = FactKey(number.to_bytes(16))
        return CustomEvent(
            event=self.event,
            event_id=event_id(fresh if key is None else key),
            identified="external" if self.external_id else "producer" if self.producer_id else None,
            external_id=self.external_id,
            occurred_at=self.occurred_at,
            deleted_at=self.deleted_at,
            metadata=codec.raw(self.metadata),
            goal_type=None if self.goal_value is None else "purchase",
            goal_value=self.goal_value,
            referral=None if self.referral is None else ReferralMention(code=self.referral),
            loyalty=None if self.loyalty is None else LoyaltyMention(code=self.loyalty),
            historical=self.historical,
            profile=self.profile,
        )


def log_of(history: list[Told], *, revision: int = 0) -> Log:
    """Append a history to a fresh log."""
    log = Log()
    for number, told in enumerate(history, start=1):
        log.tell(
            customer_number(told.customer),
            told.data(number),
            revision=revision,
            after_ms=told.after_ms,
            idempotency_key=told.idempotency_key,
        )
    return log


_instants = st.integers(-3, 3).map(lambda hours: START + timedelta(hours=hours))
_amounts = st.sampled_from([Decimal("9.99"), Decimal(25), Decimal(-25), Decimal("0.1")])
_metadata = st.fixed_dictionaries(
    {},
    optional={
        "amount": _amounts,
        "note": st.sampled_from(["one\ttab", "two\nlines", "back\\slash", "ö\\u0000"]),
        "nested": st.just({"list": [1, True, None, {"deep": "x"}]}),
    },
)
_profiles = st.builds(
    Profile,
    metadata=st.sampled_from([{}, {"VIP": True}, {"VIP": None}, {"city": "a\\b", "VIP": 1}]).map(
        codec.raw
    ),
    clears=st.sampled_from([(), (), ("name",), ("metadata",)]),
)
_deletions = st.sampled_from([UNSET, UNSET, UNSET, None, START, START + timedelta(hours=1)])

_events = st.builds(
    Told,
    customer=st.integers(1, CUSTOMERS),
    profile=st.none() | _profiles,
    event=st.sampled_from(EVENTS),
    external_id=st.sampled_from([None, "A", "A", "B\\"]),
    producer_id=st.sampled_from([None, "p1", "p2"]),
    occurred_at=st.none() | _instants,
    deleted_at=_deletions,
    metadata=_metadata,
    goal_value=st.none() | _amounts,
    referral=st.sampled_from([None, None, "NRY-01"]),
    loyalty=st.sampled_from([None, None, "CARD-7"]),
    historical=st.booleans(),
    after_ms=st.integers(0, 2),
)
_profiles_told = st.builds(
    Told, customer=st.integers(1, CUSTOMERS), profile=_profiles, after_ms=st.integers(0, 2)
)

_requests = st.builds(
    AdjustRequested,
    program=st.sampled_from(["club", "club", "inner", "gone"]),
    points=st.sampled_from([-70, -5, 5, 30]),
    digest=st.sampled_from(["one", "another"]),
    reason=st.sampled_from([None, "one\ttab"]),
) | st.builds(JoinRequested, program=st.sampled_from(["club", "inner"]), digest=st.just("join"))
_asked = st.builds(
    Told,
    customer=st.integers(1, CUSTOMERS),
    request=_requests,
    idempotency_key=st.sampled_from(["k1", "k2", "k3", "k4", "k5"]),
    after_ms=st.integers(0, 2),
)

histories = st.lists(
    _events | _events | _profiles_told | _asked, min_size=HISTORY_MIN, max_size=HISTORY_MAX
)
"""Lists of what is told, in the order of appending."""
