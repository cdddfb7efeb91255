"""Commands as they stand on ``customer.events``: requests, which may be refused where they stand.

Guarantee: a request's record id derives from its workspace and idempotency key, so the same command
sent again is the same request, however often it stands in the log; ``digest`` tells whether the
same key came with another command. These structs decode every record ever written.
"""

import msgspec

from contracts.identifiers import RecordId, derive

ADJUST_REQUESTED = "points.adjust_requested"
JOIN_REQUESTED = "points.join_requested"

KEY_BYTES = 16
"""Length of a request's key, as of a fact's."""
_PREFIX = "request_"


class AdjustRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Somebody wants a member's points adjusted; ``points`` are signed from the member's side.

    ``digest`` is that of the command (``command_digest``).
    """

    program: str
    points: int
    digest: str
    reason: str | None = None


class JoinRequested(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Somebody wants the customer to be a member of a program."""

    program: str
    digest: str


Request = AdjustRequested | JoinRequested


def request_key(workspace: str, idempotency_key: str) -> bytes:
    """Key of the request that a workspace knows by an idempotency key."""
    return derive(_PREFIX, workspace, idempotency_key)


def request_id(workspace: str, idempotency_key: str) -> RecordId:
    """Record id of that request."""
    return spell_request_id(request_key(workspace, idempotency_key))


def command_digest(path: str, body: bytes) -> str:
    """Digest a command: its path, and its body in one canonical form."""
    return derive("command", path, body.decode()).hex()


def key_of_request_id(request: str) -> bytes:
    """Read a request's key back from its record id.

    Raises:
        ValueError: the text is no request's id.
    """
    key = bytes.fromhex(request[len(_PREFIX) :])
    if len(key) != KEY_BYTES or not request.startswith(_PREFIX):
        raise ValueError(request)
    return key


def spell_request_id(key: bytes) -> RecordId:
    """Spell a request's key as its record id."""
    return RecordId(_PREFIX + key.hex())
