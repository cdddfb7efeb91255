"""Sealing what identifies a person, so that deleting one key erases it from the log for ever.

Guarantee: a sealed blob opens only under its customer's own key and only as that customer's (the
id is associated data); a customer's key rests wrapped by the master key. AES-GCM-SIV throughout:
a nonce used twice would tell no more than that two plain texts are equal.
"""

import binascii
import os
import time
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Collection
from hashlib import blake2b
from typing import Final, LiteralString

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from contracts.identifiers import CustomerId, WorkspaceName
from services.runtime.postgres import Session, translated

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
CACHE_AGE_SECONDS: Final = 5.0
"""How long a reader may go on with a key it holds: an erased customer is gone by then."""
CACHE_MAX: Final = 100_000
"""Keys held by one process: about 30 MB."""

_WRAPPING: Final = b"upshot customer key"
_NONCE_PERSON: Final = b"upshot nonce"
_DIGEST_PERSON: Final = b"upshot digest"
_CUSTOMER_PREFIX: Final = "cust_"


class UnsealError(Exception):
    """A blob does not open: another key, another customer, or its bytes were changed."""


class MasterKeyError(SystemExit):
    """Ends the process with a sentence that names the setting; the value is not shown."""

    def __init__(self) -> None:
        super().__init__(
            "UPSHOT_MASTER_KEY is missing or is not 32 bytes as hexadecimal or base64. "
            "Make one by `openssl rand -hex 32`, or start with the one that this installation has."
        )


class ForeignKeysError(Exception):
    """Customers' keys were wrapped by another master key: start with that one."""


class MasterKey(bytes):
    """The 32 bytes that wrap every customer's key."""

    @classmethod
    def parse(cls, text: str) -> "MasterKey":
        """Read the setting: 64 hexadecimal digits, or base64 (either alphabet, padded or not).

        Raises:
            MasterKeyError: it is something else.
        """
        for read in (bytes.fromhex, _from_base64):
            try:
                plain = read(text.strip())
            except (ValueError, binascii.Error):
                continue
            if len(plain) == KEY_BYTES:
                return cls(plain)
        raise MasterKeyError

    def wrap(self, plain: bytes) -> bytes:
        """Seal a secret of ours for the database."""
        return _encrypt(bytes(self), plain, _WRAPPING, os.urandom(NONCE_BYTES))

    def unwrap(self, sealed: bytes) -> bytes:
        """Open what ``wrap`` sealed; raises ``UnsealError`` under another master key."""
        return _decrypt(bytes(self), sealed, _WRAPPING)

    def digest(self, place: str, value: str) -> str:
        """``blake2b:<hex>`` of a secret at its place: no guess can be tried without the key."""
        key = blake2b(key=bytes(self), person=_DIGEST_PERSON).digest()
        of_place = blake2b(place.encode(), digest_size=KEY_BYTES, key=key).digest()
        return "blake2b:" + blake2b(value.encode(), digest_size=KEY_BYTES, key=of_place).hexdigest()


def _from_base64(text: str) -> bytes:
    return urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))


def new_key() -> bytes:
    """Draw a customer's key."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, customer: CustomerId, plain: bytes) -> str:
    """Seal under a customer's key; answers base64.

    The nonce is a keyed digest of what is sealed: the same text gives the same blob, so a version
    that was sent again compares equal to the one that stands. That two blobs of one customer are
    equal is all it tells; no nonce serves two texts.
    """
    nonce = blake2b(plain, digest_size=NONCE_BYTES, key=key, person=_NONCE_PERSON).digest()
    return b64encode(_encrypt(key, plain, customer.encode(), nonce)).decode()


def unseal(key: bytes, customer: CustomerId, blob: str) -> bytes:
    """Open a blob of ``seal``.

    Raises:
        UnsealError: another key or customer, or not the bytes that were sealed.
    """
    try:
        sealed = b64decode(blob, validate=True)
    except (ValueError, binascii.Error) as error:
        raise UnsealError("not base64") from error
    return _decrypt(key, sealed, customer.encode())


def _encrypt(key: bytes, plain: bytes, associated: bytes, nonce: bytes) -> bytes:
    return nonce + AESGCMSIV(key).encrypt(nonce, plain, associated)


def _decrypt(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    try:
        return AESGCMSIV(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError) as error:
        raise UnsealError("the blob does not open") from error


_FIND_KEYS: LiteralString = """
SELECT customer::text, wrapped FROM upshot.customer_keys
WHERE workspace = %s AND customer = ANY (%s::uuid[])"""

_Held = tuple[bytes | None, float]


class KeyRing:
    """Customers' keys by id: a bounded cache over ``upshot.customer_keys``.

    An entry is believed for ``CACHE_AGE_SECONDS``, absence too; ``forget`` drops one at once.
    """

    def __init__(self, master: MasterKey, cache_max: int = CACHE_MAX) -> None:
        self._master: MasterKey = master
        self._cache_max: int = cache_max
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()

    async def keys(
        self, session: Session, workspace: WorkspaceName, customers: Collection[CustomerId]
    ) -> dict[CustomerId, bytes]:
        """The keys of those customers that have one; who is missing was erased or never was.

        Raises:
            DatabaseUnavailableError: Postgres did not answer.
            ForeignKeysError: the master key is not the one that wrapped them.
        """
        oldest = time.monotonic() - CACHE_AGE_SECONDS
        found: dict[CustomerId, bytes] = {}
        missing: list[CustomerId] = []
        for customer in set(customers):
            held = self._held.get((workspace, customer))
            if held is None or held[1] < oldest:
                missing.append(customer)
            elif held[0] is not None:
                found[customer] = held[0]
        if missing:
            found |= await self._load(session, workspace, missing)
        return found

    def forget(self, workspace: WorkspaceName, customer: CustomerId) -> None:
        """Drop a key that was erased."""
        self._held.pop((workspace, customer), None)

    async def _load(
        self, session: Session, workspace: WorkspaceName, customers: list[CustomerId]
    ) -> dict[CustomerId, bytes]:
        read_at = time.monotonic()
        uuids = [customer.removeprefix(_CUSTOMER_PREFIX) for customer in customers]
        with translated():
            rows = await (await session.execute(_FIND_KEYS, (workspace, uuids))).fetchall()
        try:
            found = {
                CustomerId(_CUSTOMER_PREFIX + str(customer).replace("-", "")): self._master.unwrap(
                    wrapped
                )
                for customer, wrapped in rows
            }
        except UnsealError as error:
            raise ForeignKeysError from error
        for customer in customers:
            self._held[workspace, customer] = (found.get(customer), read_at)
        while len(self._held) > self._cache_max:
            self._held.popitem(last=False)
        return found
