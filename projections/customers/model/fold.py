"""Folding one record: its customer, its profile, its fact, and the lines of the timeline.

Guarantee: a stale or repeated version changes nothing but the outcome shown for its event.
"""

from datetime import datetime

import msgspec

from contracts import codec
from contracts.events import (
    EMPTY_OBJECT,
    CustomEvent,
    EventWithdrawn,
    Profile,
    ProfileChanged,
)
from contracts.identifiers import EventId, FactKey, key_of_event_id
from contracts.internal_events import InternalEvent
from contracts.profiles import Changes, FieldChange, changed_keys, merge
from contracts.requests import AdjustRequested, JoinRequested
from contracts.versions import Change
from projections.customers.model.owners import Claim, Owner
from projections.customers.model.rows import (
    CustomerKey,
    CustomerRow,
    EventContent,
    EventRow,
    FactPlace,
    ProfileEntry,
    TimelineEntry,
    VersionEntry,
)
from projections.customers.model.working import WorkingSet
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Step

_decode_event = codec.decoder(CustomEvent).decode


def apply(working: WorkingSet, step: Step) -> None:
    """Fold one step into the working set.

    Raises:
        InvalidRecordError: a sealed part does not open under the customer's own key.
    """
    match step.data:
        case CustomEvent() as event:
            assert step.change is not None, "a custom event is about a fact"
            if step.change.is_effective:
                _Record(working, step).tell(event, step.change)
            else:
                _note_outcome(working, step, step.change)
        case ProfileChanged(profile=profile):
            _Record(working, step).know(profile, caused_by=step.record.id)
        case EventWithdrawn() as withdrawn:
            assert step.change is not None, "a withdrawal is about a fact"
            if step.change.is_effective:
                _Record(working, step).withdraw(withdrawn, step.change)
        case AdjustRequested() | JoinRequested() | InternalEvent():
            pass  # what comes of a request is the decider's to tell


def _note_outcome(working: WorkingSet, step: Step, change: Change) -> None:
    place = _place(step, change.key)
    row = working.events.get(place)
    if row is None or place not in working.changed_events:
        working.outcomes[place] = change.outcome
    else:
        working.events[place] = msgspec.structs.replace(row, outcome=change.outcome)


def _place(step: Step, key: FactKey) -> FactPlace:
    return step.record.workspace, step.record.subject, key


class _Record:
    """One record on its way into the working set; counts the entries it causes."""

    def __init__(self, working: WorkingSet, step: Step) -> None:
        self._working = working
        self._step = step
        self._number = 0

    def know(self, profile: Profile | None, *, caused_by: str) -> None:
        """Create the customer where this is the first record, and merge what it says of them."""
        working, step = self._working, self._step
        key: CustomerKey = (step.record.workspace, step.record.subject)
        known = working.customers.get(key)
        row = known or CustomerRow(created_at=step.at, updated_at=step.at)
        changes: Changes = {}
        if profile is not None:
            row, changes = self._merge(row, profile)
        if row is not known:
            working.customers[key] = row
            working.changed_customers[key] = None
        working.customers.move_to_end(key)
        if known is None or changes:
            kind = "customer.updated" if known else "customer.created"
            data = codec.encode(ProfileEntry(changes=changes))
            self._enter(kind, step.at, data, caused_by)

    def _merge(self, row: CustomerRow, profile: Profile) -> tuple[CustomerRow, Changes]:
        digest = self._working.digests[self._step.offset]
        if digest == row.merged:
            return row, {}
        sealed = None
        if profile.sealed is not None:
            blob = (self._step.record.subject, profile.sealed)
            if blob not in self._working.profiles:
                return row, {}
            sealed = self._working.profiles[blob]
            if sealed is None:
                raise InvalidRecordError("profile does not open", "under the customer's own key")
        try:
            after, changes = merge(row.profile, sealed, profile)
        except ValueError as error:
            raise InvalidRecordError("profile cannot be merged", str(error)) from error
        updated_at = self._step.at if changes else row.updated_at
        merged = msgspec.structs.replace(row, profile=after, merged=digest, updated_at=updated_at)
        return merged, changes

    def tell(self, event: CustomEvent, change: Change) -> None:
        """Take in a version that changed something about its fact."""
        self.know(event.profile, caused_by=event.event_id)
        working, step, stored = self._working, self._step, change.stored
        assert stored is not None, "an effective version is stored"
        place = _place(step, change.key)
        old = working.events.get(place)
        standing = None if old is None or old.withdrawn else old
        told = event
        if standing is not None and stored.content is not None:
            told = _decode_event(stored.content)
        row = EventRow(
            event=event.event,
            external_id=event.external_id,
            outcome=change.outcome,
            version=stored.ordinal,
            revision=stored.revision,
            occurred_at=stored.occurred_at,
            counted_at=stored.counted_at,
            created_at=step.record.recordedtime if standing is None else standing.created_at,
            deleted_at=stored.deleted_at,
            withdrawn=False,
            partition=step.partition,
            offset=stored.offset,
            content=self._content(told),
        )
        self._put(place, row)
        changes = None if standing is None else changes_between(standing, row)
        self._enter_version(change.event_id, row, changes)
        if event.identified is not None:
            self._claim(place, row, is_bare=event.identified == "producer")

    def withdraw(self, withdrawn: EventWithdrawn, change: Change) -> None:
        """Take the fact from this customer, since another one holds it."""
        assert change.stored is not None, "what is withdrawn is stored"
        place = _place(self._step, key_of_event_id(withdrawn.event_id))
        old = self._working.events[place]
        row = msgspec.structs.replace(
            old,
            withdrawn=True,
            version=change.stored.ordinal,
            outcome=self._working.outcomes.get(place, old.outcome),
        )
        self._put(place, row)
        data = VersionEntry(
            event=withdrawn.event_id,
            version=row.version,
            outcome=change.outcome,
            external_id=row.external_id,
            held_by=withdrawn.held_by,
        )
        self._enter(_kind(row), row.counted_at, codec.encode(data), self._step.record.id)

    def _content(self, event: CustomEvent) -> EventContent:
        return EventContent(
            metadata=self._metadata(event),
            goal_type=event.goal_type,
            goal_name=event.goal_name,
            goal_value=event.goal_value,
            referral=event.referral,
            loyalty=event.loyalty,
            historical=event.historical,
        )

    def _metadata(self, event: CustomEvent) -> msgspec.Raw:
        if event.sealed is None:
            return event.metadata
        blob = (self._step.record.subject, event.sealed)
        if blob not in self._working.properties:
            return event.metadata
        personal = self._working.properties[blob]
        if personal is None:
            raise InvalidRecordError("properties do not open", "under the customer's own key")
        return codec.raw(codec.decode_object(event.metadata) | personal)

    def _put(self, place: FactPlace, row: EventRow) -> None:
        self._working.events[place] = row
        self._working.changed_events[place] = None
        self._working.outcomes.pop(place, None)

    def _claim(self, place: FactPlace, row: EventRow, *, is_bare: bool) -> None:
        workspace, customer, key = place
        owner = Owner(
            customer=customer,
            occurred_at=row.occurred_at,
            appended_at=self._step.time,
            partition=row.partition,
            offset=row.offset,
        )
        claim = Claim(key=key, is_bare=is_bare, owner=owner, step=self._step)
        self._working.claims.setdefault((workspace, key), []).append(claim)

    def _enter_version(self, event_id: EventId, row: EventRow, changes: Changes | None) -> None:
        said = row.content
        entry = VersionEntry(
            event=event_id,
            version=row.version,
            outcome=row.outcome,
            external_id=row.external_id,
            metadata=said.metadata,
            goal_type=said.goal_type,
            goal_name=said.goal_name,
            goal_value=said.goal_value,
            referral=said.referral,
            loyalty=said.loyalty,
            historical=said.historical,
            deleted_at=row.deleted_at,
            changes=changes,
        )
        self._enter(_kind(row), row.counted_at, codec.encode(entry), None)

    def _enter(self, kind: str, occurred_at: datetime, data: bytes, caused_by: str | None) -> None:
        step = self._step
        self._working.entries.append(
            TimelineEntry(
                workspace=step.record.workspace,
                customer=step.record.subject,
                partition=step.partition,
                offset=step.offset,
                number=self._number,
                kind=kind,
                occurred_at=occurred_at,
                recorded_at=step.at,
                data=data,
                caused_by=caused_by,
            )
        )
        self._number += 1


def _kind(row: EventRow) -> str:
    return f"custom_event.{row.event}"


def changes_between(old: EventRow, new: EventRow) -> Changes:
    """Name what differs between two versions of a fact, with both values."""
    found: Changes = {}
    for name in ("occurred_at", "deleted_at"):
        before: datetime | None = getattr(old, name)
        after: datetime | None = getattr(new, name)
        if before != after:
            found[name] = FieldChange(_instant(before), _instant(after))
    if old.content == new.content:
        return found
    for name in ("goal_type", "goal_name", "goal_value", "referral", "loyalty", "historical"):
        one: msgspec.Struct | str | bool | None = getattr(old.content, name)
        other: msgspec.Struct | str | bool | None = getattr(new.content, name)
        if one != other:
            found[name] = FieldChange(
                codec.decode_json(codec.encode(one)), codec.decode_json(codec.encode(other))
            )
    found.update(changed_keys(_object(old.content.metadata), _object(new.content.metadata)))
    return found


def _object(metadata: msgspec.Raw) -> codec.JsonObject:
    return {} if metadata == EMPTY_OBJECT else codec.decode_object(metadata)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
