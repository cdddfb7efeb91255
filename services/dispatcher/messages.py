"""From what was set off to the message that goes out: pure.

Guarantee: a message's id and bytes are a function of distribution, fact and profile, so making it
again makes the same.
"""

from contracts import codec
from contracts.identifiers import CustomerId, EventId
from contracts.webhooks import (
    CustomerSummary,
    FactSummary,
    custom_event_message,
    encode_message,
)
from services.dispatcher.deliveries import NewMessage
from services.dispatcher.working import Firing


def message_of(firing: Firing) -> NewMessage:
    """Make the message that a distribution sends for a fact."""
    step, event = firing.step, firing.event
    record, distribution = step.record, firing.distribution
    message = custom_event_message(
        FactSummary(
            event_id=event.event_id,
            event=event.event,
            metadata=firing.metadata,
            created_at=record.recordedtime,
            referral_code=None if event.referral is None else event.referral.code,
            referrer_id=None if event.referral is None else event.referral.referrer_id,
            loyalty_code=None if event.loyalty is None else event.loyalty.code,
        ),
        CustomerSummary(
            id=record.subject,
            name=firing.profile.name,
            email=firing.profile.email,
            source_id=firing.profile.source_id,
            metadata=codec.raw(firing.profile.metadata),
        ),
        workspace=record.workspace,
        distribution=distribution.name,
        logical_time=step.at,
    )
    return NewMessage(
        id=message.id,
        workspace=record.workspace,
        customer=CustomerId(record.subject),
        event=EventId(event.event_id),
        distribution=distribution.name,
        logical_time=step.at,
        body=encode_message(message),
        endpoint=distribution.endpoint,
        partition=step.partition,
        place=step.offset,
    )
