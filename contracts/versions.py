"""Which version of a fact stands: one pure function over what is stored and what comes in.

Guarantee: for one customer, in log order, ``resolve`` gives the outcomes of the public surface
("Versions" in the API description) and nothing else decides them. It reads no clock: the instant of
a record's place is an argument.
"""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET

from contracts import codec
from contracts.events import CustomEvent
from contracts.identifiers import EventId, FactKey, key_of_event_id
from contracts.profiles import same_json

Outcome = Literal["applied", "replaced", "stale", "duplicate", "deleted", "withdrawn"]


class Stored(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept of a fact at one customer.

    ``ordinal`` counts the versions that changed something, from 1. ``occurred_at`` is the instant
    that the standing version claims, ``counted_at`` the one it counts at (never after its place).
    ``revision`` is the definitions revision of the first version, ``offset`` where the last version
    that changed something stands, ``partition`` in which one if not the customer's own (it came
    over in a merge). ``origin`` is the customer who first held it, where that is another one.
    ``content`` is kept where versions can follow.
    """

    ordinal: int
    occurred_at: datetime
    counted_at: datetime
    deleted_at: datetime | None
    withdrawn: bool
    revision: int
    offset: int
    content: bytes | None
    partition: int | None = None
    origin: str | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact that counts, as a model meets it: one version, not deleted, not withdrawn.

    ``revision`` is that of the fact's first version, by which every version is judged. ``content``
    is None only in ``Change.before`` of a fact whose content is not kept. ``origin`` is the
    customer who first held it, where a merge brought it to another one.
    """

    key: FactKey
    event_id: EventId
    event: str
    ordinal: int
    occurred_at: datetime
    revision: int
    content: CustomEvent | None
    origin: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one record does to its fact: ``before`` stops counting, ``after`` starts to."""

    key: FactKey
    event_id: EventId
    outcome: Outcome
    before: Fact | None
    after: Fact | None
    stored: Stored | None

    @property
    def is_effective(self) -> bool:
        """Whether anything about the fact changed, its deletion included."""
        return self.outcome not in ("stale", "duplicate")


_decode_content = codec.decoder(CustomEvent).decode


def content_of(event: CustomEvent) -> CustomEvent:
    """Return the event without what is no content of the fact: the customer's profile."""
    return event if event.profile is None else msgspec.structs.replace(event, profile=None)


def same_content(one: CustomEvent, other: CustomEvent) -> bool:
    """Whether two versions say the same: metadata by value, numbers by amount."""
    return (
        one.goal_type == other.goal_type
        and one.goal_name == other.goal_name
        and one.goal_value == other.goal_value
        and one.referral == other.referral
        and one.loyalty == other.loyalty
        and one.sealed == other.sealed
        and _same_json(one.metadata, other.metadata)
    )


def _same_json(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    return bytes(one) == bytes(other) or same_json(codec.decode_json(one), codec.decode_json(other))


def resolve(
    stored: Stored | None,
    incoming: CustomEvent,
    *,
    key: FactKey,
    recorded_at: datetime,
    at: datetime,
    offset: int,
    revision: int,
    keeps_content: bool = False,
) -> Change:
    """Resolve an incoming version against what is stored at the same customer.

    Args:
        stored: None where the customer never held the fact.
        recorded_at: when the gateway accepted the record; counts where the producer names no time.
        at: logical time of the record's place; nothing counts later than that.
        offset: of the record.
        revision: definitions revision in force at the record.
        keeps_content: keep the content of facts that cannot have a second version too.
    """
    if stored is None or stored.withdrawn:
        kept = keeps_content or incoming.identified == "external"
        return _first(stored, incoming, key, recorded_at, at, offset, revision, kept)
    if incoming.identified != "external":
        return _unchanged("duplicate", key, incoming, stored)
    if incoming.occurred_at is not None and incoming.occurred_at < stored.occurred_at:
        return _unchanged("stale", key, incoming, stored)
    deleted_at = stored.deleted_at if incoming.deleted_at is UNSET else incoming.deleted_at
    deletion_changes = deleted_at != stored.deleted_at
    standing = _content(stored)
    if incoming.occurred_at is None and deletion_changes:
        replaced = msgspec.structs.replace(
            stored,
            ordinal=stored.ordinal + 1,
            deleted_at=deleted_at,
            offset=offset,
            partition=None,
        )
        return _replaced(key, incoming, stored, replaced, standing, standing)
    same_time = incoming.occurred_at is None or incoming.occurred_at == stored.occurred_at
    if same_time and not deletion_changes and same_content(standing, incoming):
        return _unchanged("duplicate", key, incoming, stored)
    content = content_of(incoming)
    claimed = incoming.occurred_at
    replaced = msgspec.structs.replace(
        stored,
        ordinal=stored.ordinal + 1,
        occurred_at=stored.occurred_at if claimed is None else claimed,
        counted_at=stored.counted_at if claimed is None else min(claimed, at),
        deleted_at=deleted_at,
        offset=offset,
        partition=None,
        content=codec.encode(content),
    )
    return _replaced(key, incoming, stored, replaced, standing, content)


def withdraw(
    stored: Stored | None,
    event_id: EventId,
    *,
    last_offset: int,
    last_partition: int | None = None,
) -> Change:
    """Take a fact from a customer who no longer holds it, unless a newer version came meanwhile.

    Args:
        last_partition: where ``last_offset`` is one of another partition than the customer's own.
    """
    key = key_of_event_id(event_id)
    is_another = stored is not None and stored.partition != last_partition
    if stored is None or stored.withdrawn or is_another or stored.offset > last_offset:
        return Change(
            key=key, event_id=event_id, outcome="stale", before=None, after=None, stored=stored
        )
    content = None if stored.content is None else _decode_content(stored.content)
    return Change(
        key=key,
        event_id=event_id,
        outcome="withdrawn",
        before=_fact(key, event_id, stored, content),
        after=None,
        stored=msgspec.structs.replace(
            stored, ordinal=stored.ordinal + 1, withdrawn=True, content=None
        ),
    )


def _first(
    stored: Stored | None,
    incoming: CustomEvent,
    key: FactKey,
    recorded_at: datetime,
    at: datetime,
    offset: int,
    revision: int,
    kept: bool,  # noqa: FBT001 - by position: this is met by nearly every record
) -> Change:
    claimed = recorded_at if incoming.occurred_at is None else incoming.occurred_at
    counted_at = min(claimed, at)
    ordinal = 1 if stored is None else stored.ordinal + 1
    deleted_at = None if incoming.deleted_at is UNSET else incoming.deleted_at
    content = incoming if incoming.profile is None else content_of(incoming)
    event_id = EventId(incoming.event_id)
    now = Stored(
        ordinal=ordinal,
        occurred_at=claimed,
        counted_at=counted_at,
        deleted_at=deleted_at,
        withdrawn=False,
        revision=revision,
        offset=offset,
        content=codec.encode(content) if kept else None,
        origin=None if stored is None else stored.origin,
    )
    if deleted_at is not None:
        return Change(
            key=key, event_id=event_id, outcome="deleted", before=None, after=None, stored=now
        )
    after = Fact(
        key=key,
        event_id=event_id,
        event=content.event,
        ordinal=ordinal,
        occurred_at=counted_at,
        revision=revision,
        content=content,
        origin=now.origin,
    )
    return Change(
        key=key, event_id=event_id, outcome="applied", before=None, after=after, stored=now
    )


def _content(stored: Stored) -> CustomEvent:
    assert stored.content is not None, "a fact that can have versions keeps its content"
    return _decode_content(stored.content)


def _unchanged(
    outcome: Outcome, key: FactKey, incoming: CustomEvent, stored: Stored | None
) -> Change:
    return Change(
        key=key,
        event_id=EventId(incoming.event_id),
        outcome=outcome,
        before=None,
        after=None,
        stored=stored,
    )


def _replaced(
    key: FactKey,
    incoming: CustomEvent,
    stored: Stored,
    replaced: Stored,
    standing: CustomEvent,
    content: CustomEvent,
) -> Change:
    event_id = EventId(incoming.event_id)
    return Change(
        key=key,
        event_id=event_id,
        outcome="replaced" if replaced.deleted_at is None else "deleted",
        before=_fact(key, event_id, stored, standing),
        after=_fact(key, event_id, replaced, content),
        stored=replaced,
    )


def _fact(
    key: FactKey, event_id: EventId, stored: Stored, content: CustomEvent | None
) -> Fact | None:
    if stored.deleted_at is not None:
        return None
    return Fact(
        key=key,
        event_id=event_id,
        event="" if content is None else content.event,
        ordinal=stored.ordinal,
        occurred_at=stored.counted_at,
        revision=stored.revision,
        content=content,
        origin=stored.origin,
    )
