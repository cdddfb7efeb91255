"""Bodies of ``POST /v1/events/batch`` taken apart into events.

Guarantee: a text of each event, in order, 1 to ``BATCH_EVENTS_MAX`` of them; a body that cannot be
taken apart is refused as a whole, one whose events are wrong is not.
"""

from typing import Final

from msgspec import Struct

from contracts.codec import encode
from contracts.errors import Fault
from services.gateway.admission import UNREADABLE
from services.gateway.bounds import BATCH_EVENTS_MAX
from services.gateway.dialects.native import decode_array, decode_batch
from services.gateway.errors import INVALID_BATCH, RefusedEventError
from services.gateway.faults import batch_faults
from services.runtime import problems
from services.runtime.problems import ProblemError

JSON: Final = frozenset({"", "application/json"})
NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_BLANKS: Final = b" \t\r"


class Batch(Struct, frozen=True, kw_only=True):
    """The texts of a batch's events; ``historical`` as the batch itself says."""

    texts: list[bytes]
    historical: bool = False


def take_apart(body: bytes, media: str) -> Batch:
    """Take a body apart.

    Raises:
        RefusedEventError: it cannot be read, or has no events or too many.
        ProblemError: 415, its media type is none of those taken.
    """
    if media in NDJSON:
        batch = Batch(texts=[line for each in body.split(b"\n") if (line := each.strip(_BLANKS))])
    elif media in JSON:
        batch = _from_json(body)
    else:
        detail = "Take application/json or application/x-ndjson."
        raise ProblemError(problems.unsupported_media(detail))
    if not 1 <= len(batch.texts) <= BATCH_EVENTS_MAX:
        detail = f"has {len(batch.texts)} events; 1 to {BATCH_EVENTS_MAX} are taken"
        raise _refused(Fault(pointer="", code="count", detail=detail))
    return batch


def _from_json(body: bytes) -> Batch:
    try:
        if body.lstrip()[:1] != b"{":
            return Batch(texts=[bytes(each) for each in decode_array(body)])
        wrapper = decode_batch(body)
    except UNREADABLE as error:
        raise RefusedEventError(INVALID_BATCH, _explained(body, str(error))) from error
    # Events stand in the encoded wrapper as they came, so only a key of the wrapper can be missing.
    if body.count(b'"') != encode(wrapper).count(b'"'):
        raise RefusedEventError(INVALID_BATCH, _explained(body, "a key stands twice"))
    return Batch(
        texts=[bytes(each) for each in wrapper.events], historical=bool(wrapper.historical)
    )


def _explained(body: bytes, reason: str) -> tuple[Fault, ...]:
    return batch_faults(body) or (
        Fault(pointer="", code="unreadable", detail=f"cannot be read: {reason}"),
    )


def _refused(fault: Fault) -> RefusedEventError:
    return RefusedEventError(INVALID_BATCH, (fault,))
