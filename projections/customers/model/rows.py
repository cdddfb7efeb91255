"""The rows of the read model, as values.

Guarantee: what is stored as JSON is written and read by the structs here alone.
"""

from datetime import datetime
from decimal import Decimal

import msgspec

from contracts.codec import JsonObject
from contracts.events import EMPTY_OBJECT, GoalType, LoyaltyMention, ReferralMention
from contracts.identifiers import FactKey
from contracts.profiles import EMPTY_PROFILE, FieldChange, ProfileState

CustomerKey = tuple[str, str]
"""Workspace and customer id."""
FactPlace = tuple[str, str, FactKey]
"""Workspace, customer id, key of the fact."""


class CustomerRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A customer. ``merged`` is the digest of the profile merged last."""

    created_at: datetime
    updated_at: datetime
    profile: ProfileState = EMPTY_PROFILE
    merged: bytes | None = None


class EventContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event says; personal properties stand opened in ``metadata``."""

    metadata: msgspec.Raw = EMPTY_OBJECT
    goal_type: GoalType | None = None
    goal_name: str | None = None
    goal_value: Decimal | None = None
    referral: ReferralMention | None = None
    loyalty: LoyaltyMention | None = None
    historical: bool = False


class EventRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact at one customer: its standing version, and the outcome of the last one received.

    ``occurred_at`` is what the version claims, ``counted_at`` when it counts, ``created_at`` when
    the customer's first version was accepted.
    """

    event: str
    external_id: str | None
    outcome: str
    version: int
    revision: int
    occurred_at: datetime
    counted_at: datetime
    created_at: datetime
    deleted_at: datetime | None
    withdrawn: bool
    partition: int
    offset: int
    content: EventContent


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of a customer's timeline; ``number`` counts those of one record from 0."""

    workspace: str
    customer: str
    partition: int
    offset: int
    number: int
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    data: bytes
    caused_by: str | None


class VersionEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``data`` of a timeline entry of kind ``custom_event.<event>``."""

    event: str
    version: int
    outcome: str
    external_id: str | None = None
    metadata: msgspec.Raw | JsonObject = EMPTY_OBJECT
    goal_type: GoalType | None = None
    goal_name: str | None = None
    goal_value: Decimal | None = None
    referral: ReferralMention | None = None
    loyalty: LoyaltyMention | None = None
    historical: bool = False
    deleted_at: datetime | None = None
    held_by: str | None = None
    changes: dict[str, FieldChange] | None = None


class MergedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``data`` of ``customer.merged``: who is one with this customer now, and what that filled."""

    merged: str
    changes: dict[str, FieldChange]


class ProfileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``data`` of ``customer.created`` and ``customer.updated``."""

    changes: dict[str, FieldChange]
