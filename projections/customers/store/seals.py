"""Opening what is sealed in a batch, by sets: one query for the keys, each blob opened once.

Guarantee: a customer whose key is gone is applied without what was sealed; a blob that does not
open under its own key is told to the model, which refuses that record alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from contracts import codec
from contracts.events import CustomEvent, Profile, ProfileChanged
from contracts.identifiers import CustomerId, WorkspaceName
from contracts.profiles import digest_of, open_profile
from projections.customers.model import WorkingSet
from projections.customers.model.working import Blob
from projections.kernel.projection import Step
from services.runtime.postgres import Session
from services.runtime.sealing import KeyRing, UnsealError, unseal

T = TypeVar("T")

_Wanted = dict[str, set[Blob]]
"""Blobs to open, by workspace."""

_decode_event = codec.decoder(CustomEvent).decode


async def open_all(
    session: Session, keys: KeyRing, working: WorkingSet, steps: Sequence[Step]
) -> None:
    """Open the profiles that change something and the properties of versions that do."""
    profiles = _grouped(_profiles(working, steps))
    properties = _grouped(_properties(steps))
    found = await _keys(session, keys, (profiles, properties))
    working.profiles = _opened(found, profiles, open_profile)
    working.properties = _opened(found, properties, codec.decode_object)


def _profiles(working: WorkingSet, steps: Sequence[Step]) -> Iterator[tuple[str, Blob]]:
    """Name the sealed profiles that the model will merge: those not like the one before."""
    merged: dict[tuple[str, str], bytes] = {}
    for step in steps:
        profile = _profile_of(step)
        if profile is None:
            continue
        customer = (step.record.workspace, step.record.subject)
        digest = working.digests[step.offset] = digest_of(profile)
        row = working.customers.get(customer)
        if digest == merged.get(customer, None if row is None else row.merged):
            continue
        merged[customer] = digest
        if profile.sealed is not None:
            yield step.record.workspace, (step.record.subject, profile.sealed)


def _profile_of(step: Step) -> Profile | None:
    match step.data:
        case CustomEvent(profile=profile) if step.merges_profile:
            return profile
        case ProfileChanged(profile=profile):
            return profile
        case _:
            return None


def _properties(steps: Sequence[Step]) -> Iterator[tuple[str, Blob]]:
    for step in steps:
        change = step.change
        if change is None or not change.is_effective or not isinstance(step.data, CustomEvent):
            continue
        workspace, customer = step.record.workspace, step.record.subject
        if step.data.sealed is not None:
            yield workspace, (customer, step.data.sealed)
        elif change.stored is not None and change.stored.ordinal > 1 and change.stored.content:
            kept = _decode_event(change.stored.content)
            if kept.sealed is not None:
                yield workspace, (customer, kept.sealed)


def _grouped(blobs: Iterable[tuple[str, Blob]]) -> _Wanted:
    grouped: _Wanted = defaultdict(set)
    for workspace, blob in blobs:
        grouped[workspace].add(blob)
    return grouped


async def _keys(
    session: Session, keys: KeyRing, wanted: Sequence[_Wanted]
) -> dict[CustomerId, bytes]:
    """Read the keys of all customers concerned, by customer id."""
    customers: dict[str, set[CustomerId]] = defaultdict(set)
    for each in wanted:
        for workspace, blobs in each.items():
            customers[workspace] |= {CustomerId(customer) for customer, _ in blobs}
    found: dict[CustomerId, bytes] = {}
    for workspace, of_workspace in customers.items():
        found.update(await keys.keys(session, WorkspaceName(workspace), of_workspace))
    return found


def _opened(
    keys: dict[CustomerId, bytes], wanted: _Wanted, read: Callable[[bytes], T]
) -> dict[Blob, T | None]:
    return {
        blob: _open(key, blob, read)
        for blobs in wanted.values()
        for blob in blobs
        if (key := keys.get(CustomerId(blob[0]))) is not None
    }


def _open(key: bytes, blob: Blob, read: Callable[[bytes], T]) -> T | None:
    customer, sealed = blob
    try:
        return read(unseal(key, CustomerId(customer), sealed))
    except (UnsealError, msgspec.DecodeError, UnicodeDecodeError):
        return None
