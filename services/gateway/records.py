"""The records that the gateway appends.

Guarantee: what is written here decodes as ``contracts.cloudevent.CloudEvent`` with the data struct
of its type; personal properties of metadata stand in it sealed only.
"""

from datetime import datetime
from typing import Final

from msgspec import Raw, Struct
from uuid_utils import uuid7

from contracts.cloudevent import CloudEvent
from contracts.codec import encode
from contracts.codec import raw as as_raw
from contracts.events import (
    CUSTOM_EVENT,
    PROFILE_CHANGED,
    CustomEvent,
    LoyaltyMention,
    Profile,
    ProfileChanged,
    ReferralMention,
)
from contracts.identifiers import EventId, FactKey, WorkspaceName, event_id, fact_key
from services.gateway.admission import Admitted
from services.gateway.identity import Identity
from services.runtime.sealing import seal

SOURCE: Final = "gateway"


class Stamp(Struct, frozen=True, kw_only=True):
    """What all records of one request share; ``accepted_at`` is when it was accepted."""

    workspace: WorkspaceName
    revision: int
    accepted_at: datetime
    historical: bool = False


def name_event(workspace: WorkspaceName, admitted: Admitted) -> EventId:
    """The public id of the fact that an event tells; drawn where the producer names none."""
    body = admitted.body
    key = fact_key(
        workspace,
        body.event,
        external_id=body.external_id or None,
        producer_id=body.id or None,
    )
    return event_id(FactKey(uuid7().bytes) if key is None else key)


def event_record(
    admitted: Admitted, event: EventId, identity: Identity, profile: Profile | None, stamp: Stamp
) -> bytes:
    """Encode the record of one event."""
    body = admitted.body
    metadata, sealed = _sealed_metadata(admitted, identity)
    told = CustomEvent(
        event=body.event,
        event_id=event,
        identified="external" if body.external_id else "producer" if body.id else None,
        external_id=body.external_id or None,
        occurred_at=admitted.occurred_at,
        deleted_at=admitted.deleted_at,
        metadata=metadata,
        sealed=sealed,
        goal_type=body.goal_type or None,
        goal_name=body.goal_name or None,
        goal_value=admitted.goal_value,
        referral=ReferralMention(code=body.referral.code) if body.referral else None,
        loyalty=LoyaltyMention(code=body.loyalty.code) if body.loyalty else None,
        historical=bool(body.historical) or stamp.historical,
        profile=profile,
    )
    return _record(
        CUSTOM_EVENT, identity, as_raw(told), admitted.occurred_at or stamp.accepted_at, stamp
    )


def profile_record(profile: Profile, identity: Identity, stamp: Stamp) -> bytes:
    """Encode the record of a changed profile."""
    told = as_raw(ProfileChanged(profile=profile))
    return _record(PROFILE_CHANGED, identity, told, stamp.accepted_at, stamp)


def _record(kind: str, identity: Identity, told: Raw, time: datetime, stamp: Stamp) -> bytes:
    record_id = str(uuid7())
    return encode(
        CloudEvent(
            id=record_id,
            source=SOURCE,
            type=kind,
            subject=identity.customer,
            time=time,
            workspace=stamp.workspace,
            recordedtime=stamp.accepted_at,
            definitionsrevision=stamp.revision,
            correlationid=record_id,
            data=told,
        )
    )


def _sealed_metadata(admitted: Admitted, identity: Identity) -> tuple[Raw, str | None]:
    """Metadata in clear, and a blob of its personal properties where it has some."""
    event_type = admitted.event_type
    if event_type is None or event_type.pii_fields.isdisjoint(admitted.values):
        return admitted.metadata, None
    personal = {k: v for k, v in admitted.values.items() if k in event_type.pii_fields}
    public = {k: v for k, v in admitted.values.items() if k not in event_type.pii_fields}
    if identity.sealing_key is None:
        return as_raw(public), None
    return as_raw(public), seal(identity.sealing_key, identity.customer, encode(personal))
