"""Rows of ``profiles``, and the opening of what is sealed in a batch: by sets, each blob once.

Guarantee: a customer's row is read once and kept while the customer is met again. A customer whose
key is gone is known without what was sealed; a blob that does not open is told to the model, which
refuses that record alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import LiteralString, TypeVar

import msgspec

from contracts import codec
from contracts.events import EMPTY_OBJECT, Address, CustomEvent
from contracts.identifiers import CustomerId, WorkspaceName
from contracts.profiles import TEXT_FIELDS, ProfileState, digest_of, open_profile
from projections.kernel import binary
from projections.kernel.projection import Step
from projections.kernel.tables import Table
from services.dispatcher.working import Blob, CustomerKey, CustomerRow, WorkingSet, profile_of
from services.runtime.postgres import Session
from services.runtime.sealing import KeyRing, UnsealError, unseal

T = TypeVar("T")

_LOAD: LiteralString = """
SELECT p.workspace, uuid_send(p.customer), p.profile, p.merged, p.created_at
FROM unnest(%s, %s) AS k (workspace, customer)
JOIN profiles p USING (workspace, customer)"""
_PROFILES = Table(
    "profiles",
    "workspace text, customer uuid, profile text, merged bytea, created_at timestamptz",
)
_COLUMNS = b"\0\5"
_UPDATE: LiteralString = """
UPDATE profiles p SET profile = n.profile, merged = n.merged
FROM unnest(%s, %s, %s, %s::bytea[])
    AS n (workspace, customer, profile, merged)
WHERE p.workspace = n.workspace AND p.customer = n.customer"""


class _Profile(msgspec.Struct, frozen=True, kw_only=True):
    """``ProfileState`` as it is stored; its metadata is read apart, so that numbers stay exact."""

    source_id: str | None = None
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    description: str | None = None
    birthdate: str | None = None
    birthday: str | None = None
    address: Address | None = None
    metadata: msgspec.Raw = EMPTY_OBJECT


_decode_profile = msgspec.json.Decoder(_Profile).decode


class _Row(msgspec.Struct, array_like=True, frozen=True):
    workspace: str
    customer: bytes
    profile: str
    merged: bytes | None
    created_at: datetime


async def load(session: Session, keys: KeyRing, working: WorkingSet, steps: Sequence[Step]) -> None:
    """Read the customers of these steps that are not in memory yet, and open what is sealed."""
    met = {(step.record.workspace, step.record.subject) for step in steps}
    missing = sorted(key for key in met if key not in working.customers)
    if missing:
        cursor = await session.execute(_LOAD, _keys(missing))
        for found in await cursor.fetchall():
            row = msgspec.convert(found, _Row)
            key: CustomerKey = (row.workspace, binary.customer_id(row.customer))
            working.customers[key] = CustomerRow(
                created_at=row.created_at,
                merged=row.merged,
                profile=_profile(row.profile),
            )
            working.stored.add(key)
    await _open_all(session, keys, working, steps)


async def write(session: Session, working: WorkingSet) -> None:
    """Write the customers that changed: new ones are added, others updated, by set."""
    changed = [(key, working.customers[key]) for key in sorted(working.changed)]
    fresh = [_spell(key, row) for key, row in changed if key not in working.stored]
    await _PROFILES.add(session, fresh)
    known = [(key, row) for key, row in changed if key in working.stored]
    if known:
        await session.execute(
            _UPDATE,
            (
                *_keys([key for key, _ in known]),
                binary.texts(codec.encode(row.profile).decode() for _, row in known),
                [row.merged for _, row in known],
            ),
        )


def _profile(text: str) -> ProfileState:
    stored = _decode_profile(text)
    texts: dict[str, str | None] = {name: getattr(stored, name) for name in TEXT_FIELDS}
    metadata = codec.decode_object(stored.metadata)
    return ProfileState(**texts, address=stored.address, metadata=metadata)


def _keys(customers: Sequence[CustomerKey]) -> tuple[binary.TextArray, binary.UuidArray]:
    return (
        binary.texts(workspace for workspace, _ in customers),
        binary.uuids([binary.customer_key(customer) for _, customer in customers]),
    )


def _spell(key: CustomerKey, row: CustomerRow) -> bytes:
    workspace, customer = key
    return b"".join(
        (
            _COLUMNS,
            binary.name(workspace),
            binary.uuid(binary.customer_key(customer)),
            binary.raw(codec.encode(row.profile)),
            binary.NULL if row.merged is None else binary.raw(row.merged),
            binary.instant(row.created_at),
        )
    )


async def _open_all(
    session: Session, keys: KeyRing, working: WorkingSet, steps: Sequence[Step]
) -> None:
    """Open the profiles that change something and the properties of events that may fire."""
    profiles = list(_sealed_profiles(working, steps))
    properties = list(_sealed_properties(working, steps))
    customers: dict[str, set[CustomerId]] = defaultdict(set)
    for workspace, (customer, _) in (*profiles, *properties):
        customers[workspace].add(CustomerId(customer))
    found: dict[CustomerId, bytes] = {}
    for workspace, of_workspace in customers.items():
        found.update(await keys.keys(session, WorkspaceName(workspace), of_workspace))
    working.profiles = _opened(found, profiles, open_profile)
    working.properties = _opened(found, properties, codec.decode_object)


def _sealed_profiles(working: WorkingSet, steps: Sequence[Step]) -> Iterator[tuple[str, Blob]]:
    """Name the sealed profiles that the model will merge: those not like the one before."""
    merged: dict[CustomerKey, bytes] = {}
    for step in steps:
        profile = profile_of(step)
        if profile is None:
            continue
        customer = (step.record.workspace, step.record.subject)
        digest, row = digest_of(profile), working.customers.get(customer)
        if digest == merged.get(customer, None if row is None else row.merged):
            continue
        merged[customer] = digest
        if profile.sealed is not None:
            yield step.record.workspace, (step.record.subject, profile.sealed)


def _sealed_properties(working: WorkingSet, steps: Sequence[Step]) -> Iterator[tuple[str, Blob]]:
    for step in steps:
        if isinstance(step.data, CustomEvent) and step.data.sealed and working.candidates(step):
            yield step.record.workspace, (step.record.subject, step.data.sealed)


def _opened(
    keys: dict[CustomerId, bytes],
    wanted: Iterable[tuple[str, Blob]],
    read: Callable[[bytes], T],
) -> dict[Blob, T | None]:
    return {
        blob: _open(key, blob, read)
        for blob in {blob for _, blob in wanted}
        if (key := keys.get(CustomerId(blob[0]))) is not None
    }


def _open(key: bytes, blob: Blob, read: Callable[[bytes], T]) -> T | None:
    customer, sealed = blob
    try:
        return read(unseal(key, CustomerId(customer), sealed))
    except (UnsealError, msgspec.DecodeError, UnicodeDecodeError):
        return None
