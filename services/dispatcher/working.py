"""A partition's working set: customers met of late, and what a batch set off.

Guarantee: memory is bounded; only customers and rules outlast a batch.
"""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from contracts import codec
from contracts.codec import JsonObject
from contracts.definitions.distributions import Distribution
from contracts.events import EMPTY_OBJECT, CustomEvent, Profile, ProfileChanged, SealedProfile
from contracts.profiles import EMPTY_PROFILE, ProfileState, digest_of, merge
from contracts.requests import Request
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Step
from services.dispatcher.match import Rules, firing, first_version, rules_of

CUSTOMERS_MAX: Final = 5_000
"""Customers kept for the next batch, of one partition: about 5 MB with small profiles."""
RULES_MAX: Final = 64
"""Revisions whose rules are kept sorted: in a batch few differ."""

CustomerKey = tuple[str, str]
"""Workspace and customer id."""
Blob = tuple[str, str]
"""Customer id and sealed text."""


class CustomerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A customer as merged so far; ``created_at`` is the logical time of its first record."""

    created_at: datetime
    profile: ProfileState = EMPTY_PROFILE
    merged: bytes | None = None


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution that a record set off, and all that its message tells."""

    distribution: Distribution
    step: Step
    event: CustomEvent
    metadata: msgspec.Raw
    profile: ProfileState


class WorkingSet:
    """Rows in memory. ``profiles`` and ``properties`` hold opened seals, None where one is broken.

    A blob whose key is gone is in neither.
    """

    def __init__(self) -> None:
        self.customers: OrderedDict[CustomerKey, CustomerRow] = OrderedDict()
        self.stored: set[CustomerKey] = set()
        self._rules: OrderedDict[tuple[str, int], Rules] = OrderedDict()
        self._start()

    def _start(self) -> None:
        self.changed: set[CustomerKey] = set()
        self.profiles: Mapping[Blob, SealedProfile | None] = {}
        self.properties: Mapping[Blob, JsonObject | None] = {}
        self.firings: list[Firing] = []

    def end_batch(self) -> None:
        """Keep what may be met again, within the bound."""
        self.stored |= self.changed
        while len(self.customers) > CUSTOMERS_MAX:
            gone, _ = self.customers.popitem(last=False)
            self.stored.discard(gone)
        self._start()

    def candidates(self, step: Step) -> tuple[Distribution, ...]:
        """Return the distributions that a record may set off, by its event and definitions."""
        if not isinstance(step.data, CustomEvent) or first_version(step) is None:
            return ()
        key = (step.snapshot.workspace, step.snapshot.revision)
        rules = self._rules.get(key)
        if rules is None:
            rules = self._rules[key] = rules_of(step.snapshot)
            if len(self._rules) > RULES_MAX:
                self._rules.popitem(last=False)
        return rules.get(step.data.event, ())


def profile_of(step: Step) -> Profile | None:
    """Return what a record says of its customer, if that counts."""
    match step.data:
        case CustomEvent(profile=profile) if step.merges_profile:
            return profile
        case ProfileChanged(profile=profile):
            return profile
        case _:
            return None


def fold(working: WorkingSet, step: Step) -> None:
    """Merge what a record says of its customer, and note what it sets off.

    Raises:
        InvalidRecordError: a sealed part does not open under the customer's own key.
    """
    event = step.data
    if isinstance(event, Request):
        return
    row = _know(working, step)
    if not isinstance(event, CustomEvent):
        return
    candidates = working.candidates(step)
    fact = first_version(step)
    if not candidates or fact is None:
        return
    metadata, values = _metadata(working, step, event)
    chosen = firing(
        candidates,
        fact,
        event,
        metadata=values,
        profile=row.profile,
        created_at=row.created_at,
        at=step.at,
    )
    working.firings.extend(
        Firing(distribution=each, step=step, event=event, metadata=metadata, profile=row.profile)
        for each in chosen
    )


def _know(working: WorkingSet, step: Step) -> CustomerRow:
    key: CustomerKey = (step.record.workspace, step.record.subject)
    known = working.customers.get(key)
    row = known or CustomerRow(created_at=step.at)
    profile = profile_of(step)
    if profile is not None:
        row = _merged(working, step, row, profile)
    if row is not known:
        working.customers[key] = row
        working.changed.add(key)
    working.customers.move_to_end(key)
    return row


def _merged(working: WorkingSet, step: Step, row: CustomerRow, profile: Profile) -> CustomerRow:
    digest = digest_of(profile)
    if digest == row.merged:
        return row
    sealed = None
    if profile.sealed is not None:
        blob = (step.record.subject, profile.sealed)
        if blob not in working.profiles:
            return row
        sealed = working.profiles[blob]
        if sealed is None:
            raise InvalidRecordError("profile does not open", "under the customer's own key")
    try:
        after, _ = merge(row.profile, sealed, profile)
    except ValueError as error:
        raise InvalidRecordError("profile cannot be merged", str(error)) from error
    return msgspec.structs.replace(row, profile=after, merged=digest)


def _metadata(
    working: WorkingSet, step: Step, event: CustomEvent
) -> tuple[msgspec.Raw, JsonObject]:
    """Return an event's metadata in clear, as it is sent and as conditions read it."""
    public = {} if event.metadata == EMPTY_OBJECT else codec.decode_object(event.metadata)
    blob = (step.record.subject, event.sealed or "")
    if event.sealed is None or blob not in working.properties:
        return event.metadata, public
    personal = working.properties[blob]
    if personal is None:
        raise InvalidRecordError("properties do not open", "under the customer's own key")
    whole = public | personal
    return codec.raw(whole), whole
