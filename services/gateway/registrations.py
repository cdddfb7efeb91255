"""The registry of customers: who has which identifier, and each customer's key.

Guarantee: an identifier names one customer of a workspace, whichever gateways register it at one
moment: the loser's transaction is undone and it looks again. ``id`` outranks ``source_id`` outranks
``email``; one of lower rank that belongs to somebody else stays there.
"""

from collections.abc import Iterator, Sequence
from typing import Final, LiteralString

from msgspec import Struct
from uuid_utils import uuid7

from contracts.identifiers import CustomerId, WorkspaceName
from services.gateway.bounds import RACES_MAX
from services.runtime.postgres import DatabaseUnavailableError, Session
from services.runtime.sealing import MasterKey, new_key

ID: Final = "id"
SOURCE_ID: Final = "source_id"
EMAIL: Final = "email"
_PREFIX: Final = "cust_"
_HEX: Final = frozenset("0123456789abcdef")
_HEX_DIGITS: Final = 32


class Claim(Struct, frozen=True, gc=False):
    """Identifiers by which a request names a customer; at least one is given."""

    customer: CustomerId | None = None
    source_id: str | None = None
    email: str | None = None

    def identifiers(self) -> Iterator[tuple[str, str]]:
        """Kind and value of what is given, by rank."""
        if self.customer is not None:
            yield ID, self.customer
        if self.source_id is not None:
            yield SOURCE_ID, self.source_id
        if self.email is not None:
            yield EMAIL, self.email


class Found(Struct, frozen=True, kw_only=True):
    """Whose a claim is. ``sealing_key`` is None of an erased customer."""

    customer: CustomerId
    sealing_key: bytes | None
    foreign: tuple[str, ...]


class _RacedError(Exception):
    """Another gateway registered one of the identifiers a moment before."""


def is_customer_id(text: str) -> bool:
    """True for ``cust_`` and 32 hexadecimal digits."""
    digits = text.removeprefix(_PREFIX)
    return text.startswith(_PREFIX) and len(digits) == _HEX_DIGITS and _HEX.issuperset(digits)


_Name = tuple[str, str]

_FIND_OWNERS: LiteralString = """
SELECT i.kind, i.value, replace(i.customer::text, '-', ''), k.wrapped,
       EXISTS (SELECT FROM upshot.identities o
               WHERE o.workspace = i.workspace AND o.customer = i.customer AND o.kind = 'source_id')
FROM unnest(%s::text[], %s::text[]) AS wanted (kind, value)
JOIN upshot.identities i
  ON i.workspace = %s AND i.kind = wanted.kind AND i.value = wanted.value
LEFT JOIN upshot.customer_keys k ON k.workspace = i.workspace AND k.customer = i.customer"""
_FIND_CUSTOMERS: LiteralString = """
SELECT replace(customer::text, '-', ''), wrapped FROM upshot.customer_keys
WHERE workspace = %s AND customer = ANY (%s::uuid[])"""
_INSERT_IDENTITIES: LiteralString = """
INSERT INTO upshot.identities (workspace, kind, value, customer)
SELECT %s, kind, value, customer
FROM unnest(%s::text[], %s::text[], %s::uuid[]) AS named (kind, value, customer)
ORDER BY kind, value
ON CONFLICT DO NOTHING RETURNING true"""
_INSERT_KEYS: LiteralString = """
INSERT INTO upshot.customer_keys (workspace, customer, wrapped)
SELECT %s, customer, wrapped FROM unnest(%s::uuid[], %s::bytea[]) AS made (customer, wrapped)"""
_RELEASE: LiteralString = """
DELETE FROM upshot.identities
WHERE workspace = %s AND customer = %s::uuid AND kind = ANY (%s::text[])
RETURNING kind, value"""


class Registrations:
    """The statements over the registry; customers' keys pass through the master key."""

    def __init__(self, master: MasterKey) -> None:
        self.master: Final = master

    async def read(
        self, session: Session, workspace: WorkspaceName, claims: Sequence[Claim]
    ) -> "_Ledger":
        """Read what stands of the claims' identifiers."""
        names = {name for claim in claims for name in claim.identifiers()}
        ids = {value for kind, value in names if kind == ID}
        rest = [name for name in names if name[0] != ID]
        ledger = _Ledger()
        if rest:
            kinds, values = [kind for kind, _ in rest], [value for _, value in rest]
            cursor = await session.execute(_FIND_OWNERS, (kinds, values, workspace))
            for kind, value, digits, wrapped, has_source_id in await cursor.fetchall():
                customer = CustomerId(_PREFIX + digits)
                ledger.owners[kind, value] = customer
                ledger.keys[customer] = None if wrapped is None else self.master.unwrap(wrapped)
                if has_source_id:
                    ledger.with_source_id.add(customer)
        if ids:
            digits_only = [_uuid(customer) for customer in ids if is_customer_id(customer)]
            cursor = await session.execute(_FIND_CUSTOMERS, (workspace, digits_only))
            for digits, wrapped in await cursor.fetchall():
                ledger.keys[CustomerId(_PREFIX + digits)] = self.master.unwrap(wrapped)
        return ledger

    async def write(self, session: Session, workspace: WorkspaceName, ledger: "_Ledger") -> None:
        """Register what the ledger proposes; raises ``_RacedError`` when somebody was quicker."""
        kinds = [kind for kind, _ in ledger.proposed]
        values = [value for _, value in ledger.proposed]
        owners = [_uuid(customer) for customer in ledger.proposed.values()]
        async with session.transaction():
            cursor = await session.execute(_INSERT_IDENTITIES, (workspace, kinds, values, owners))
            if len(await cursor.fetchall()) != len(kinds):
                raise _RacedError
            if ledger.made:
                wrapped = [self.master.wrap(key) for key in ledger.made.values()]
                customers = [_uuid(customer) for customer in ledger.made]
                await session.execute(_INSERT_KEYS, (workspace, customers, wrapped))

    async def release(
        self,
        session: Session,
        workspace: WorkspaceName,
        customer: CustomerId,
        kinds: Sequence[str],
    ) -> list[_Name]:
        """Take a customer's identifiers of these kinds away; answers which they were."""
        cursor = await session.execute(_RELEASE, (workspace, _uuid(customer), list(kinds)))
        return [(kind, value) for kind, value in await cursor.fetchall()]


class _Ledger:
    """Who has what, and what is to be registered."""

    def __init__(self) -> None:
        self.owners: dict[_Name, CustomerId] = {}
        self.keys: dict[CustomerId, bytes | None] = {}
        self.with_source_id: set[CustomerId] = set()
        self.proposed: dict[_Name, CustomerId] = {}
        self.made: dict[CustomerId, bytes] = {}

    def settle(self, claim: Claim) -> Found | None:
        """Whose the claim is, proposing what is not registered; None of an unknown id."""
        owner = self.owner_of(claim)
        if owner is None:
            if claim.customer is not None:
                return None
            owner = self._make()
        for name in claim.identifiers():
            if name[0] != ID and name not in self.owners:
                self.owners[name] = self.proposed[name] = owner
                if name[0] == SOURCE_ID:
                    self.with_source_id.add(owner)
        return self.found(claim, owner)

    def owner_of(self, claim: Claim) -> CustomerId | None:
        """The customer that the claim's highest-ranked known identifier names.

        A new source id joins the owner of its email only where that customer has none yet: two
        people may share an address.
        """
        if claim.customer is not None:
            return claim.customer if claim.customer in self.keys else None
        if claim.source_id is not None:
            owner = self.owners.get((SOURCE_ID, claim.source_id))
            if owner is not None:
                return owner
        if claim.email is None:
            return None
        owner = self.owners.get((EMAIL, claim.email))
        if claim.source_id is not None and owner in self.with_source_id:
            return None
        return owner

    def found(self, claim: Claim, owner: CustomerId) -> Found:
        """The answer, once every identifier of the claim has an owner or may be without one."""
        foreign = tuple(
            name[0]
            for name in claim.identifiers()
            if name[0] != ID and self.owners.get(name, owner) != owner
        )
        return Found(customer=owner, sealing_key=self.keys[owner], foreign=foreign)

    def _make(self) -> CustomerId:
        customer, key = CustomerId(_PREFIX + uuid7().hex), new_key()
        self.keys[customer] = self.made[customer] = key
        return customer


async def register(
    session: Session,
    registrations: Registrations,
    workspace: WorkspaceName,
    claims: Sequence[Claim],
) -> list[Found | None]:
    """Whose each claim is, registering who is new; None of an unknown id.

    Raises:
        DatabaseUnavailableError: others registered the same identifiers again and again.
    """
    for _ in range(RACES_MAX):
        ledger = await registrations.read(session, workspace, claims)
        found = [ledger.settle(claim) for claim in claims]
        if not ledger.proposed:
            return found
        try:
            await registrations.write(session, workspace, ledger)
        except _RacedError:
            continue
        return found
    raise DatabaseUnavailableError("the same identifiers are registered elsewhere again and again")


async def find_only(
    session: Session, registrations: Registrations, workspace: WorkspaceName, claim: Claim
) -> Found | None:
    """Whose a claim is, registering nobody."""
    ledger = await registrations.read(session, workspace, [claim])
    owner = ledger.owner_of(claim)
    return None if owner is None else ledger.found(claim, owner)


def _uuid(customer: CustomerId | str) -> str:
    return customer.removeprefix(_PREFIX)
