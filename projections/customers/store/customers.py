"""Rows of ``customers``: profiles.

Guarantee: a customer's row is read once and kept while the customer is met again.
"""

from collections.abc import Set as AbstractSet
from datetime import datetime
from struct import Struct
from typing import LiteralString

import msgspec
from psycopg import sql

from contracts import codec
from contracts.events import Address
from contracts.profiles import TEXT_FIELDS, ProfileState
from projections.customers.model import CustomerRow, WorkingSet
from projections.customers.model.rows import CustomerKey
from projections.kernel import binary
from projections.kernel.tables import Table
from services.runtime.postgres import Session

PROFILE_COLUMNS = sql.SQL("""c.source_id, c.email, c.name, c.phone, c.description,
    c.birthdate, c.birthday, c.address, c.metadata, c.created_at, c.updated_at""")
_LOAD = sql.SQL("""
SELECT {}, c.workspace, uuid_send(c.customer), c.merged
FROM unnest(%s, %s) AS k (workspace, customer)
JOIN customers c USING (workspace, customer)""").format(PROFILE_COLUMNS)
_CUSTOMERS = Table(
    "customers",
    "customer uuid, created_at timestamptz, updated_at timestamptz, workspace text,"
    " source_id text, email text, name text, phone text, description text, birthdate text,"
    " birthday text, address text, metadata text, merged bytea",
)
_UPDATE: LiteralString = """
UPDATE customers c SET source_id = n.source_id, email = n.email, name = n.name, phone = n.phone,
    description = n.description, birthdate = n.birthdate, birthday = n.birthday,
    address = n.address, metadata = n.metadata, merged = n.merged, updated_at = n.updated_at
FROM unnest(%s, %s, %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::timestamptz[])
    AS n (workspace, customer, source_id, email, name, phone, description, birthdate, birthday,
        address, metadata, merged, updated_at)
WHERE c.workspace = n.workspace AND c.customer = n.customer"""

_COLUMNS = 14
_fixed = Struct(">h i16s iq iq").pack
_decode_address = msgspec.json.Decoder(Address).decode


class ProfileColumns(msgspec.Struct, array_like=True, frozen=True):
    """``PROFILE_COLUMNS`` as read."""

    source_id: str | None
    email: str | None
    name: str | None
    phone: str | None
    description: str | None
    birthdate: str | None
    birthday: str | None
    address: str | None
    metadata: str
    created_at: datetime
    updated_at: datetime

    @property
    def decoded_address(self) -> Address | None:
        """The address as a value."""
        return None if self.address is None else _decode_address(self.address)


class _Row(ProfileColumns, array_like=True, frozen=True):
    workspace: str
    customer: bytes
    merged: bytes | None


async def load(session: Session, working: WorkingSet, met: AbstractSet[CustomerKey]) -> None:
    """Read those of these customers who are not in memory yet."""
    missing = sorted(each for each in met if each not in working.customers)
    if not missing:
        return
    cursor = await session.execute(
        _LOAD,
        (
            binary.texts(workspace for workspace, _ in missing),
            binary.uuids([binary.customer_key(customer) for _, customer in missing]),
        ),
    )
    for found in await cursor.fetchall():
        row = msgspec.convert(found, _Row)
        key: CustomerKey = (row.workspace, binary.customer_id(row.customer))
        working.customers[key] = _customer(row)
        working.stored_customers.add(key)


def _customer(row: _Row) -> CustomerRow:
    return CustomerRow(
        created_at=row.created_at,
        updated_at=row.updated_at,
        merged=row.merged,
        profile=ProfileState(
            source_id=row.source_id,
            email=row.email,
            name=row.name,
            phone=row.phone,
            description=row.description,
            birthdate=row.birthdate,
            birthday=row.birthday,
            address=row.decoded_address,
            metadata=codec.decode_object(row.metadata.encode()),
        ),
    )


async def write(session: Session, working: WorkingSet) -> None:
    """Write the customers that changed: new ones are added, others updated, by set."""
    changed = [(key, working.customers[key]) for key in working.changed_customers]
    stored = working.stored_customers
    fresh = [_spell(key, row) for key, row in changed if key not in stored]
    await _CUSTOMERS.add(session, fresh)
    known = [(key, row) for key, row in changed if key in stored]
    if known:
        await session.execute(_UPDATE, _columns(known))


def _spell(key: CustomerKey, row: CustomerRow) -> bytes:
    workspace, customer = key
    created_at, updated_at = binary.micros(row.created_at), binary.micros(row.updated_at)
    fixed = _fixed(_COLUMNS, 16, binary.customer_key(customer), 8, created_at, 8, updated_at)
    texts = b"".join(_optional(value) for value in _texts(row.profile))
    merged = binary.NULL if row.merged is None else binary.raw(row.merged)
    return fixed + binary.name(workspace) + texts + merged


def _columns(known: list[tuple[CustomerKey, CustomerRow]]) -> tuple[object, ...]:
    texts = zip(*(_texts(row.profile) for _, row in known), strict=True)
    return (
        binary.texts(key[0] for key, _ in known),
        binary.uuids([binary.customer_key(key[1]) for key, _ in known]),
        *(list(column) for column in texts),
        [row.merged for _, row in known],
        [row.updated_at for _, row in known],
    )


def _texts(profile: ProfileState) -> list[str | None]:
    texts: list[str | None] = [getattr(profile, name) for name in TEXT_FIELDS]
    address = profile.address
    texts.append(None if address is None else codec.encode(address).decode())
    texts.append(codec.encode(profile.metadata).decode())
    return texts


def _optional(value: str | None) -> bytes:
    return binary.NULL if value is None else binary.text(value)
