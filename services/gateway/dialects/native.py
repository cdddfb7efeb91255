"""Upshot's own form of an event and of a customer, as ``POST /v1/events`` takes it.

Guarantee: a body that decodes here has known fields of the right types and lengths; what further
holds of it, and what is wrong with one that does not decode, ``services.gateway.admission`` says.
A field that is absent is UNSET, one given as null is None.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from contracts.events import GoalType
from services.gateway.bounds import (
    CODE_CHARACTERS_MAX,
    EMAIL_CHARACTERS_MAX,
    EVENT_CHARACTERS_MAX,
    EXTERNAL_ID_CHARACTERS_MAX,
    GOAL_NAME_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    SOURCE_ID_CHARACTERS_MAX,
)
from services.gateway.strict_json import EXACT

EventName = Annotated[str, Meta(min_length=1, max_length=EVENT_CHARACTERS_MAX)]
ProducerId = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX)]
ExternalId = Annotated[str, Meta(min_length=1, max_length=EXTERNAL_ID_CHARACTERS_MAX)]
SourceId = Annotated[str, Meta(min_length=1, max_length=SOURCE_ID_CHARACTERS_MAX)]
Email = Annotated[str, Meta(min_length=1, max_length=EMAIL_CHARACTERS_MAX)]
Code = Annotated[str, Meta(min_length=1, max_length=CODE_CHARACTERS_MAX)]
GoalName = Annotated[str, Meta(min_length=1, max_length=GOAL_NAME_CHARACTERS_MAX)]
Instant = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with a zone."""

Text = str | UnsetType | None


class AddressBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """``customer.address``."""

    city: Text = UNSET
    state: Text = UNSET
    line_1: Text = UNSET
    line_2: Text = UNSET
    country: Text = UNSET
    postal_code: Text = UNSET


class CustomerBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """``customer`` of an event, and the body of ``POST /v1/customers``.

    ``metadata`` is whatever stood there.
    """

    id: str | UnsetType | None = UNSET
    source_id: SourceId | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    name: Text = UNSET
    phone: Text = UNSET
    description: Text = UNSET
    birthdate: Text = UNSET
    birthday: Text = UNSET
    address: AddressBody | UnsetType | None = UNSET
    metadata: object = UNSET


class CodeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """``referral`` and ``loyalty``."""

    code: Code


class EventBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The body of ``POST /v1/events``, an element of a batch, a line of NDJSON.

    ``metadata`` and ``goal_value`` are whatever stood there; ``customer`` is still to be read,
    since the same text was most often read before.
    """

    event: EventName
    customer: Raw
    metadata: object = UNSET
    occurred_at: Instant | UnsetType | None = UNSET
    id: ProducerId | UnsetType | None = UNSET
    external_id: ExternalId | UnsetType | None = UNSET
    goal_type: GoalType | UnsetType | None = UNSET
    goal_name: GoalName | UnsetType | None = UNSET
    goal_value: object = UNSET
    deleted_at: Instant | UnsetType | None = UNSET
    referral: CodeBody | UnsetType | None = UNSET
    loyalty: CodeBody | UnsetType | None = UNSET
    historical: bool | UnsetType | None = UNSET


class BatchBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The body of ``POST /v1/events/batch`` where it is an object."""

    events: list[EventBody]
    historical: bool | UnsetType | None = UNSET


class UnreadBatchBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The same with its events still to be read."""

    events: list[Raw]
    historical: bool | UnsetType | None = UNSET


_exactly: Final = EXACT.create_decimal
_event: Final = msgspec.json.Decoder(EventBody, float_hook=_exactly)

decode_event = _event.decode
decode_lines = _event.decode_lines
decode_events = msgspec.json.Decoder(list[EventBody], float_hook=_exactly).decode
decode_customer = msgspec.json.Decoder(CustomerBody, float_hook=_exactly).decode
decode_batch = msgspec.json.Decoder(BatchBody, float_hook=_exactly).decode
decode_unread_batch = msgspec.json.Decoder(UnreadBatchBody).decode
decode_unread_events = msgspec.json.Decoder(list[Raw]).decode
