"""Who may do what: API keys, known by the digests of their secrets.

Guarantee: a secret is never stored, only its SHA-256 digest (a secret is 256 random bits, so a slow
hash would protect nothing and stall the hot path). A key that was revoked or has expired lets
nobody in once what is cached of it is too old; while Postgres is away a known key still gets in on
what is cached of it, at most ``STALE_SECONDS`` old.
"""

import asyncio
import base64
import binascii
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal, LiteralString, get_args

import msgspec

from services.runtime.clock import Clock, SystemClock
from services.runtime.postgres import DatabaseUnavailableError, Pool, Session, translated

Scope = Literal[
    "events:write",
    "customers:read",
    "customers:write",
    "event_types:write",
    "event_types:delete",
    "definitions:read",
    "definitions:write",
    "loyalty:write",
    "vouchers:write",
    "operations",
    "admin",
]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

ADMIN_KEY_ID: Final = "key_admin"
SECRET_BYTES: Final = 32
TOKEN_CHARS_MAX: Final = 512
"""Longer than any key of ours; what is longer is not even hashed."""
FRESH_SECONDS: Final = 5.0
"""Younger than this an entry is used as it is; older, it is used while it is read again."""
STALE_SECONDS: Final = 60.0
"""Older than this an entry lets nobody in: it must be read again first."""
ENTRIES_MAX: Final = 10_000
"""Keys remembered; one takes about half a kilobyte."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What a key allows, in its one workspace."""

    key_id: str
    workspace: str
    scopes: frozenset[str]
    expires_at: datetime | None = None

    def allows(self, scope: str) -> bool:
        """Return whether the key holds the scope; ``admin`` holds all."""
        return scope in self.scopes or "admin" in self.scopes


class _Entry(msgspec.Struct, frozen=True):
    access: Access
    read_at: float


def digest_of(secret: str) -> bytes:
    """Digest under which a secret is stored."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def new_secret() -> str:
    """Draw a secret: ``upshot_`` and 43 characters of 256 random bits."""
    return f"upshot_{secrets.token_urlsafe(SECRET_BYTES)}"


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Find the key in a request's raw ASGI headers (names in lower case); None where there is none.

    ``Authorization: Bearer KEY`` or Basic with the key as user, else ``X-App-Token: KEY``.
    """
    app_token: str | None = None
    for name, value in headers:
        if name == b"authorization":
            return _authorized(value)
        if name == b"x-app-token":
            app_token = value.decode("latin-1").strip()
    return app_token or None


def _authorized(value: bytes) -> str | None:
    scheme, _, rest = value.partition(b" ")
    match scheme.lower():
        case b"bearer":
            return rest.strip().decode("latin-1") or None
        case b"basic":
            with suppress(binascii.Error, ValueError):
                user, _, _ = base64.b64decode(rest.strip(), validate=True).partition(b":")
                return user.decode("latin-1") or None
            return None
        case _:
            return None


class KeyStore:
    """Finds keys by their secrets, from a bounded cache over Postgres."""

    def __init__(
        self,
        pool: Pool,
        *,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._clock = clock or SystemClock()
        self._monotonic = monotonic
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._refreshing: dict[bytes, asyncio.Task[None]] = {}

    async def find(self, token: str) -> Access | None:
        """Return what the key allows; None when there is no such key (revoked, expired).

        Raises:
            DatabaseUnavailableError: the key is not known well enough and Postgres is away.
        """
        if len(token) > TOKEN_CHARS_MAX:
            return None
        digest = digest_of(token)
        entry = self._entries.get(digest)
        age = STALE_SECONDS if entry is None else self._monotonic() - entry.read_at
        if entry is None or age >= STALE_SECONDS:
            entry = await self._read(digest)
        elif age >= FRESH_SECONDS:
            self._refresh(digest)
        if entry is None or self._has_expired(entry.access):
            return None
        return entry.access

    def forget(self) -> None:
        """Forget everything, so that a change made by this very process holds at once."""
        self._entries.clear()

    async def stop(self) -> None:
        """Let the reads under way end."""
        if self._refreshing:
            await asyncio.wait(self._refreshing.values())

    def _has_expired(self, access: Access) -> bool:
        return access.expires_at is not None and access.expires_at <= self._clock.now()

    def _refresh(self, digest: bytes) -> None:
        """Read an entry again beside the request that uses it; one read at a time for each."""
        if digest in self._refreshing:
            return
        task = asyncio.create_task(self._read_quietly(digest))
        self._refreshing[digest] = task
        task.add_done_callback(lambda _: self._refreshing.pop(digest, None))

    async def _read_quietly(self, digest: bytes) -> None:
        with suppress(DatabaseUnavailableError):  # the cached entry serves until it is too old
            await self._read(digest)

    async def _read(self, digest: bytes) -> _Entry | None:
        with translated():
            async with self._pool.connection() as session:
                access = await find_access(session, digest)
        if access is None:
            self._entries.pop(digest, None)
            return None
        entry = _Entry(access, self._monotonic())
        self._entries[digest] = entry
        self._entries.move_to_end(digest)
        while len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)
        return entry


_FIND: LiteralString = """
SELECT id, workspace, scopes, expires_at FROM upshot.api_keys
WHERE digest = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"""


async def find_access(session: Session, digest: bytes) -> Access | None:
    """Read what a key allows now."""
    row = await (await session.execute(_FIND, (digest,))).fetchone()
    if row is None:
        return None
    return Access(key_id=row[0], workspace=row[1], scopes=frozenset(row[2]), expires_at=row[3])


_ENSURE_ADMIN: LiteralString = """
INSERT INTO upshot.api_keys (id, workspace, name, digest, scopes, created_at)
VALUES (%s, %s, 'admin', %s, '{admin}', now())
ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, digest = excluded.digest
WHERE (api_keys.workspace, api_keys.digest)
    IS DISTINCT FROM (excluded.workspace, excluded.digest)"""


async def ensure_admin_key(session: Session, workspace: str, secret: str) -> None:
    """Make the settings' admin key the one that stands; another secret replaces the old one."""
    await session.execute(_ENSURE_ADMIN, (ADMIN_KEY_ID, workspace, digest_of(secret)))
