"""What stands on ``customer.events``: one struct a record type, and the type's name.

Guarantee: these structs decode every record ever written (``tests/contracts`` holds golden ones);
a new field always has a default.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from contracts.internal_events import InternalEvent
from contracts.requests import AdjustRequested, JoinRequested

CUSTOM_EVENT = "customer.custom_event"
PROFILE_CHANGED = "customer.profile_changed"
EVENT_WITHDRAWN = "customer.event_withdrawn"

GoalType = Literal["purchase", "subscription", "lead", "signup", "booking", "trial", "other"]

EMPTY_OBJECT = msgspec.Raw(b"{}")


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a record says of its customer's profile.

    ``sealed`` is the base64 blob of the identifying fields (see ``SealedProfile``) under the
    customer's key; ``metadata`` is the public part, to be merged key by key (null removes a key).
    ``clears`` names the fields that null cleared (only ``POST /v1/customers`` does).
    """

    sealed: str | None = None
    metadata: msgspec.Raw = EMPTY_OBJECT
    clears: tuple[str, ...] = ()


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A postal address, as given."""

    city: str | None = None
    state: str | None = None
    line_1: str | None = None
    line_2: str | None = None
    country: str | None = None
    postal_code: str | None = None


class SealedProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The plain text of ``Profile.sealed``: what identifies a person, as far as given."""

    source_id: str | None = None
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    description: str | None = None
    birthdate: str | None = None
    birthday: str | None = None
    address: Address | None = None
    metadata: msgspec.Raw = EMPTY_OBJECT
    """Profile metadata that the workspace marks as personal."""


class ReferralMention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A referral code on an event, with its owner as the gateway resolved it (None: unknown)."""

    code: str
    referrer_id: str | None = None


class LoyaltyMention(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A loyalty card named by an event."""

    code: str


class CustomEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One version of a fact that a producer told.

    ``event_id`` names the fact (``identifiers.event_id``). ``occurred_at`` stands as the producer
    gave it, None where the record's time counts; ``deleted_at`` is unset when absent, None where
    null restores. ``metadata`` is the producer's object without its personal properties, which
    ``sealed`` holds as a base64 blob. ``goal_value`` is in major units of a currency.
    ``identified`` says how the producer named the fact: only an ``external`` one has versions.
    """

    event: str
    event_id: str
    identified: Literal["external", "producer"] | None = None
    external_id: str | None = None
    occurred_at: datetime | None = None
    deleted_at: datetime | UnsetType | None = UNSET
    metadata: msgspec.Raw = EMPTY_OBJECT
    sealed: str | None = None
    goal_type: GoalType | None = None
    goal_name: str | None = None
    goal_value: Decimal | None = None
    referral: ReferralMention | None = None
    loyalty: LoyaltyMention | None = None
    historical: bool = False
    profile: Profile | None = None


class ProfileChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A customer's profile as told by ``POST /v1/customers``."""

    profile: Profile


class EventWithdrawn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A fact that this customer no longer holds, since another customer's version won.

    Only a version that stands at ``last_offset`` of its partition or before it is withdrawn: a
    newer one that came meanwhile is compared by itself. ``last_partition`` says which partition
    that is (unset: the record's), since the version may have come over in a merge.
    """

    event_id: str
    last_offset: int
    held_by: str
    last_partition: int | None = None


EventData = (
    CustomEvent | ProfileChanged | EventWithdrawn | AdjustRequested | JoinRequested | InternalEvent
)
