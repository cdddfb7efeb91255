"""Names of things, and how the derived ones derive.

Guarantee: the same cause always derives the same identifier, in any process and any replay. Nothing
here draws randomness; what is new is drawn at the edge and passed in.
"""

from hashlib import blake2b
from typing import NewType

WorkspaceName = NewType("WorkspaceName", str)
CustomerId = NewType("CustomerId", str)
EventId = NewType("EventId", str)
RecordId = NewType("RecordId", str)
FactKey = NewType("FactKey", bytes)

FACT_KEY_BYTES = 16
"""Length of a fact's key: 128 bits, so that a collision stays unlikely beyond 10^15 facts."""

_SEPARATOR = "\0"  # U+0000 is refused in every string at the edge, so parts cannot run together
_EVENT_PREFIX = "event_"


def derive(*parts: str) -> bytes:
    """Derive 16 bytes from the parts; equal parts give equal bytes."""
    return blake2b(_SEPARATOR.join(parts).encode(), digest_size=FACT_KEY_BYTES).digest()


class Derivation:
    """What derives from the same parts and a key each time: the parts are hashed once."""

    def __init__(self, *parts: str) -> None:
        text = _SEPARATOR.join(parts).encode()
        self._begun = blake2b(text, digest_size=FACT_KEY_BYTES, person=b"from key")

    def of(self, key: bytes, number: int) -> bytes:
        """Derive 16 bytes from the parts, a key and a number below 2^32.

        The keys given to one derivation are of one length, so that nothing can run into them.
        """
        hasher = self._begun.copy()
        hasher.update(key + number.to_bytes(4))
        return hasher.digest()


def fact_key(
    workspace: str, event: str, *, external_id: str | None, producer_id: str | None
) -> FactKey | None:
    """Key of the fact that a producer names by ``external_id`` (with its event) or by its own id.

    ``external_id`` outranks ``producer_id``. None when the producer gave neither: every such event
    is a fact of its own and its key is drawn at random by the gateway.
    """
    if external_id is not None:
        return FactKey(derive("external", workspace, event, external_id))
    if producer_id is not None:
        return FactKey(derive("producer", workspace, producer_id))
    return None


def event_id(key: FactKey) -> EventId:
    """Spell a fact's key as the public event id: ``event_`` and 32 hexadecimal digits."""
    return EventId(_EVENT_PREFIX + key.hex())


def key_of_event_id(event: str) -> FactKey:
    """Read a fact's key back from its public event id.

    Raises:
        ValueError: the text is not an event id.
    """
    key = bytes.fromhex(event[len(_EVENT_PREFIX) :])
    if len(key) != FACT_KEY_BYTES or not event.startswith(_EVENT_PREFIX):
        raise ValueError(event)
    return FactKey(key)


def derived_id(prefix: str, *cause: str) -> str:
    """Spell an identifier that follows from its cause, for example ``entry_`` and 32 hex digits."""
    return prefix + derive(prefix, *cause).hex()
