"""What an endpoint's deliveries are signed and addressed with: secrets and header values.

Guarantee: a change in Postgres, where they stand wrapped by the master key, is seen within
``CACHE_SECONDS``. A rotated secret signs beside the new one until its row says no longer.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

import msgspec

from services.dispatcher.deliveries import EndpointKey, columns
from services.dispatcher.signing import Signer
from services.runtime.postgres import Session
from services.runtime.sealing import MasterKey

CACHE_SECONDS: Final = 5.0
"""How old secrets in memory may be."""


class EndpointKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint's deliveries are signed with, and header values by name."""

    signer: Signer
    headers: Mapping[str, str]


_FIND: LiteralString = """
SELECT s.workspace, s.endpoint, s.secret,
    CASE WHEN s.previous_until > now() THEN s.previous_secret END, s.headers
FROM upshot.endpoint_secrets s
JOIN unnest(%s::text[], %s::text[]) AS g (workspace, endpoint) USING (workspace, endpoint)"""


class SecretStore:
    """Endpoints' secrets, opened; in memory for a few seconds."""

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        self._held: dict[EndpointKey, tuple[float, EndpointKeys | None]] = {}

    def get(self, endpoint: EndpointKey) -> EndpointKeys | None:
        """Return what ``refresh`` last found; None where the endpoint has no secret."""
        return self._held.get(endpoint, (0.0, None))[1]

    async def refresh(self, session: Session, endpoints: Sequence[EndpointKey]) -> None:
        """Read again what is older than ``CACHE_SECONDS``, in one query.

        Raises:
            UnsealError: the master key is not the one that wrapped them.
            UnusableSecretError: a stored secret cannot sign.
        """
        now = time.monotonic()
        oldest = now - CACHE_SECONDS
        stale = [
            key for key in endpoints if self._held.get(key, (-CACHE_SECONDS, None))[0] < oldest
        ]
        if not stale:
            return
        self._held.update(dict.fromkeys(stale, (now, None)))
        names = columns(stale)
        for row in await (await session.execute(_FIND, names)).fetchall():
            secrets = [self._master.unwrap(each).decode() for each in row[2:4] if each is not None]
            keys = EndpointKeys(signer=Signer(*secrets), headers=self._headers(row[4]))
            self._held[EndpointKey(row[0], row[1])] = (now, keys)

    def _headers(self, wrapped: bytes | None) -> Mapping[str, str]:
        if wrapped is None:
            return {}
        return msgspec.json.decode(self._master.unwrap(wrapped), type=dict[str, str])
