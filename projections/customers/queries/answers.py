"""What the queries answer, in the form of the public surface."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from contracts.events import Address, GoalType, LoyaltyMention, ReferralMention

ShownOutcome = Literal["applied", "replaced", "stale", "duplicate", "deleted"]


class CustomerProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A customer with the profile merged so far; ``metadata`` is a JSON object."""

    id: str
    source_id: str | None
    email: str | None
    name: str | None
    phone: str | None
    description: str | None
    birthdate: str | None
    birthday: str | None
    address: Address | None
    metadata: msgspec.Raw
    created_at: datetime
    updated_at: datetime
    object: Literal["customer"] = "customer"


class EventCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """The customer of an event, as an event shows it."""

    id: str
    source_id: str | None
    email: str | None
    name: str | None
    metadata: msgspec.Raw
    object: Literal["customer"] = "customer"


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fact as it stands: ``outcome`` of the last version received, ``version`` of the standing.

    ``created_at`` is when its customer's first version was accepted; ``position`` is that of the
    record that made the standing version.
    """

    id: str
    type: str
    customer: EventCustomer
    referral: ReferralMention | None
    loyalty: LoyaltyMention | None
    metadata: msgspec.Raw
    occurred_at: datetime
    created_at: datetime
    deleted_at: datetime | None
    external_id: str | None
    goal_type: GoalType | None
    goal_name: str | None
    goal_value: Decimal | None
    historical: bool
    outcome: ShownOutcome
    version: int
    position: str
    object: Literal["event"] = "event"


class ActivityEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a timeline; ``data`` is a JSON object, for versions with their ``changes``."""

    id: str
    kind: str
    customer: str
    occurred_at: datetime
    recorded_at: datetime
    data: msgspec.Raw
    caused_by: str | None
    position: str
    object: Literal["activity"] = "activity"


class CustomerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Customers, the first created first, and where to go on (None at the end)."""

    data: list[CustomerProfile]
    next_cursor: str | None
    object: Literal["list"] = "list"


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, newest first, and where to go on (None at the end)."""

    data: list[StoredEvent]
    next_cursor: str | None
    object: Literal["list"] = "list"


class ActivityPage(msgspec.Struct, frozen=True, kw_only=True):
    """Timeline entries, newest first, and where to go on (None at the end)."""

    data: list[ActivityEntry]
    next_cursor: str | None
    object: Literal["list"] = "list"


class NewEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that a stream has not told yet, and where the stream stands behind it."""

    entry: ActivityEntry
    place: str


class NewActivity(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream has to tell, oldest first, and where it stands once all of it is told."""

    entries: list[NewEntry]
    place: str
    has_more: bool
