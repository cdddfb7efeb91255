"""What a webhook says: the message, and how one is made from a fact and a customer.

Guarantee: the bytes of ``encode_message`` are the HTTP body and the record on topic ``webhooks``
alike. The same cause always gives the same bytes: id and times come from the log. All five keys of
``CustomEventNews`` always stand there, null where there is nothing to say.
"""

from datetime import datetime
from typing import Literal

import msgspec

from contracts.codec import encode
from contracts.events import CUSTOM_EVENT
from contracts.identifiers import derived_id

MESSAGE_PREFIX = "msg_"
DELIVERY_PREFIX = "dlv_"
_EVENT_TYPE_PREFIX = "ms_"


class CustomerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A customer as a receiver sees it, in clear; ``metadata`` is a JSON object."""

    id: str
    name: str | None
    email: str | None
    source_id: str | None
    metadata: msgspec.Raw
    object: Literal["customer"] = "customer"


class CustomerReference(msgspec.Struct, frozen=True, kw_only=True):
    """A customer of whom only the id is told."""

    id: str
    object: Literal["customer"] = "customer"


class EventReferral(msgspec.Struct, frozen=True, kw_only=True):
    """The referral code an event carried; ``id`` names the code."""

    referrer_id: str | None
    code: str
    id: str


class EventLoyalty(msgspec.Struct, frozen=True, kw_only=True):
    """The loyalty card an event carried."""

    code: str


class EventSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The triggering event; ``type`` is its name, ``metadata`` a JSON object."""

    id: str
    type: str
    customer: CustomerSummary
    referral: EventReferral | None
    loyalty: EventLoyalty | None
    metadata: msgspec.Raw
    created_at: datetime
    object: Literal["event"] = "event"


class EventTypeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The event type of the triggering event."""

    id: str
    name: str


class CodeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A code as a voucher: a referral code or a loyalty card."""

    code: str
    object: Literal["voucher"] = "voucher"


class ReferralNews(msgspec.Struct, frozen=True, kw_only=True):
    """Who referred the customer; ``campaign`` is null, a referral program is no campaign."""

    referrer: CustomerReference
    voucher: CodeSummary
    campaign: None = None


class LoyaltyNews(msgspec.Struct, frozen=True, kw_only=True):
    """Which card the event named; ``campaign`` is null, a loyalty program is no campaign."""

    voucher: CodeSummary
    campaign: None = None


class CustomEventNews(msgspec.Struct, frozen=True, kw_only=True):
    """``data`` of a ``customer.custom_event`` message."""

    event: EventSummary
    event_schema: EventTypeSummary
    customer: CustomerSummary
    referral: ReferralNews | None
    loyalty: LoyaltyNews | None


class MessageSource(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that sends."""

    name: str
    object: Literal["distribution"] = "distribution"


class WebhookMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message; ``timestamp`` is the logical time of its cause."""

    id: str
    type: Literal["customer.custom_event"]
    timestamp: datetime
    workspace: str
    source: MessageSource
    data: CustomEventNews


class FactSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a message tells of a fact.

    ``metadata`` is the whole JSON object in clear, ``created_at`` when the gateway accepted it.
    """

    event_id: str
    event: str
    metadata: msgspec.Raw
    created_at: datetime
    referral_code: str | None = None
    referrer_id: str | None = None
    loyalty_code: str | None = None


def message_id(workspace: str, distribution: str, fact: str) -> str:
    """Id of the message that a distribution sends for a fact: the same in every replay."""
    return derived_id(MESSAGE_PREFIX, workspace, distribution, fact)


def delivery_id(message: str, endpoint: str) -> str:
    """Id of the delivery that owes a message to an endpoint."""
    return derived_id(DELIVERY_PREFIX, message, endpoint)


def custom_event_message(
    fact: FactSummary,
    customer: CustomerSummary,
    *,
    workspace: str,
    distribution: str,
    logical_time: datetime,
) -> WebhookMessage:
    """Make the message that a distribution sends for a fact, to the customer as it is after it."""
    return WebhookMessage(
        id=message_id(workspace, distribution, fact.event_id),
        type=CUSTOM_EVENT,
        timestamp=logical_time,
        workspace=workspace,
        source=MessageSource(name=distribution),
        data=CustomEventNews(
            event=EventSummary(
                id=fact.event_id,
                type=fact.event,
                customer=customer,
                referral=_event_referral(workspace, fact),
                loyalty=None if fact.loyalty_code is None else EventLoyalty(code=fact.loyalty_code),
                metadata=fact.metadata,
                created_at=fact.created_at,
            ),
            event_schema=EventTypeSummary(
                id=derived_id(_EVENT_TYPE_PREFIX, workspace, fact.event), name=fact.event
            ),
            customer=customer,
            referral=_referral(fact),
            loyalty=_loyalty(fact),
        ),
    )


def encode_message(message: WebhookMessage) -> bytes:
    """Write a message: these bytes are signed, sent and appended."""
    return encode(message)


def _event_referral(workspace: str, fact: FactSummary) -> EventReferral | None:
    if fact.referral_code is None:
        return None
    return EventReferral(
        referrer_id=fact.referrer_id,
        code=fact.referral_code,
        id=derived_id("v_", workspace, fact.referral_code),
    )


def _referral(fact: FactSummary) -> ReferralNews | None:
    if fact.referral_code is None or fact.referrer_id is None:
        return None
    return ReferralNews(
        referrer=CustomerReference(id=fact.referrer_id),
        voucher=CodeSummary(code=fact.referral_code),
    )


def _loyalty(fact: FactSummary) -> LoyaltyNews | None:
    if fact.loyalty_code is None:
        return None
    return LoyaltyNews(voucher=CodeSummary(code=fact.loyalty_code))
