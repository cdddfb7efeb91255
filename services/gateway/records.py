"""The records that the gateway appends.

Guarantee: what is written here is byte for byte what ``contracts.codec.encode`` makes of the
``CloudEvent`` with the data struct of its type; it is put together from parts because the parts of
one request, and of one customer, are the same in thousands of records. Personal properties of
metadata stand in it sealed only.
"""

from datetime import datetime
from hashlib import blake2b
from typing import Final

from msgspec import Raw
from uuid_utils import uuid7

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
from contracts.identifiers import (
    FACT_KEY_BYTES,
    EventId,
    WorkspaceName,
    event_id,
    fact_key,
)
from services.gateway.admission import Admitted
from services.gateway.identity import Identity
from services.runtime.sealing import seal

SOURCE: Final = "gateway"


class Stamp:
    """What all records of one request share.

    Args:
        workspace: of the key.
        revision: of the definitions that the events were judged by.
        accepted_at: when the request was accepted, in UTC and by the workspace's clock.
        historical: whether the request as a whole is.
    """

    __slots__ = (
        "_after_time",
        "_facts",
        "_time",
        "accepted_at",
        "historical",
        "revision",
        "workspace",
    )

    def __init__(
        self,
        *,
        workspace: WorkspaceName,
        revision: int,
        accepted_at: datetime,
        historical: bool = False,
    ) -> None:
        self.workspace: Final = workspace
        self.revision: Final = revision
        self.accepted_at: Final = accepted_at
        self.historical: Final = historical
        self._time: Final = encode(accepted_at)
        self._after_time: Final = b',"workspace":%s,"recordedtime":%s,"definitionsrevision":%d,' % (
            encode(workspace),
            self._time,
            revision,
        )
        self._facts: dict[str, blake2b] = {}

    def event_id(self, admitted: Admitted) -> EventId:
        """The public id of the fact that an event tells; drawn where the producer names none."""
        body = admitted.body
        if not body.external_id:
            if not body.id:
                return EventId("event_" + uuid7().hex)
            key = fact_key(self.workspace, body.event, external_id=None, producer_id=body.id)
            assert key is not None, "the producer named the fact"
            return event_id(key)
        known = self._facts.get(body.event)
        if known is None:
            known = self._facts[body.event] = _external_facts(self.workspace, body.event)
        digest = known.copy()
        digest.update(body.external_id.encode())
        return EventId("event_" + digest.hexdigest())

    def record(
        self, kind: bytes, identity: Identity, told: bytes, occurred_at: datetime | None
    ) -> bytes:
        """Put a record together; ``told`` is its data, encoded, ``kind`` the rest of its head."""
        record_id = str(uuid7()).encode()
        return b"".join(
            (
                b'{"id":"',
                record_id,
                kind,
                identity.key,
                b'","time":',
                self._time if occurred_at is None else encode(occurred_at),
                self._after_time,
                b'"data":',
                told,
                b',"specversion":"1.0","correlationid":"',
                record_id,
                b'"}',
            )
        )


def _head(kind: str) -> bytes:
    return b'","source":"%s","type":"%s","subject":"' % (SOURCE.encode(), kind.encode())


_CUSTOM_EVENT_HEAD: Final = _head(CUSTOM_EVENT)
_PROFILE_CHANGED_HEAD: Final = _head(PROFILE_CHANGED)


def _external_facts(workspace: str, event: str) -> blake2b:
    """The digest of ``identifiers.fact_key`` up to the external id, which is its last part."""
    return blake2b(f"external\0{workspace}\0{event}\0".encode(), digest_size=FACT_KEY_BYTES)


def event_record(
    admitted: Admitted, event: EventId, identity: Identity, profile: Profile | None, stamp: Stamp
) -> bytes:
    """Encode the record of one event."""
    body = admitted.body
    event_type = admitted.event_type
    metadata, sealed = admitted.metadata, None
    if event_type is not None and event_type.pii_fields:
        metadata, sealed = _seal_personal(admitted, event_type.pii_fields, identity)
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
        historical=stamp.historical or body.historical is True,
        profile=profile,
    )
    return stamp.record(_CUSTOM_EVENT_HEAD, identity, encode(told), admitted.occurred_at)


def profile_record(profile: Profile, identity: Identity, stamp: Stamp) -> bytes:
    """Encode the record of a changed profile."""
    told = encode(ProfileChanged(profile=profile))
    return stamp.record(_PROFILE_CHANGED_HEAD, identity, told, None)


def _seal_personal(
    admitted: Admitted, personal_keys: frozenset[str], identity: Identity
) -> tuple[Raw, str | None]:
    """Metadata in clear, and a blob of its personal properties where it has some."""
    values = admitted.values
    if personal_keys.isdisjoint(values):
        return admitted.metadata, None
    public = as_raw({key: each for key, each in values.items() if key not in personal_keys})
    if identity.sealing_key is None:
        return public, None
    personal = encode({key: each for key, each in values.items() if key in personal_keys})
    return public, seal(identity.sealing_key, identity.customer, personal)
