"""Request bodies taken apart into events, and read.

Guarantee: each event in order, 1 to ``BATCH_EVENTS_MAX`` of them; a body that cannot be taken apart
is refused as a whole, one whose events are wrong is not. All events of a body are read at once;
only where that finds anything suspicious is each read by itself.
"""

from collections.abc import Callable, Sequence
from typing import Final

from contracts.codec import encode
from contracts.errors import Fault
from services.gateway.admission import UNREADABLE
from services.gateway.bounds import BATCH_EVENTS_MAX
from services.gateway.dialects.native import (
    EventBody,
    decode_batch,
    decode_events,
    decode_lines,
    decode_unread_batch,
    decode_unread_events,
)
from services.gateway.errors import INVALID_BATCH, RefusedEventError
from services.gateway.faults import batch_faults
from services.gateway.splitting import split_array, split_object
from services.gateway.strict_json import is_doubtful
from services.runtime import problems
from services.runtime.problems import ProblemError

JSON: Final = frozenset({"", "application/json"})
NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_BLANKS: Final = b" \t\r"
_HISTORICAL: Final = {"true": True, "false": False, "null": False}

Reading = EventBody | bytes
"""An event that was read and holds nothing suspicious, or its text, still to be read."""


class Batch:
    """The events of one request.

    ``readings`` has each one; ``text`` gives its text, taking the body apart only when asked.
    """

    def __init__(
        self,
        readings: Sequence[Reading],
        texts: Callable[[], Sequence[bytes]],
        *,
        historical: bool = False,
    ) -> None:
        self.readings: Final = readings
        self.historical: Final = historical
        self._take_apart: Callable[[], Sequence[bytes]] = texts
        self._texts: Sequence[bytes] | None = None

    def text(self, index: int) -> bytes:
        """The text of one event."""
        if self._texts is None:
            self._texts = self._take_apart()
        return self._texts[index]


def one(text: bytes) -> Batch:
    """A batch of one event."""
    texts = [text]
    return Batch(texts, lambda: texts)


def take_apart(body: bytes, media: str) -> Batch:
    """Take a body apart.

    Raises:
        RefusedEventError: it cannot be read, or has no events or too many.
        ProblemError: 415, its media type is none of those taken.
    """
    if media in NDJSON:
        batch = _lines(body)
    elif media not in JSON:
        detail = "Take application/json or application/x-ndjson."
        raise ProblemError(problems.unsupported_media(detail))
    elif body.lstrip()[:1] == b"{":
        batch = _wrapped(body)
    else:
        batch = _array(body)
    count = len(batch.readings)
    if not 1 <= count <= BATCH_EVENTS_MAX:
        detail = f"has {count} events; 1 to {BATCH_EVENTS_MAX} are taken"
        raise RefusedEventError(INVALID_BATCH, (Fault(pointer="", code="count", detail=detail),))
    return batch


def _lines(body: bytes) -> Batch:
    texts = [line for each in body.split(b"\n") if (line := each.strip(_BLANKS))]
    try:
        bodies = decode_lines(body)
    except UNREADABLE:
        return Batch(texts, lambda: texts)
    if len(bodies) != len(texts) or is_doubtful(body, encode(bodies)):
        return Batch(texts, lambda: texts)
    return Batch(bodies, lambda: texts)


def _array(body: bytes) -> Batch:
    def texts() -> list[bytes]:
        return [bytes(each) for each in decode_unread_events(body)]

    try:
        bodies = decode_events(body)
    except UNREADABLE:
        bodies = None
    if bodies is not None and not is_doubtful(body, encode(bodies)):
        return Batch(bodies, texts)
    try:
        unread = texts()
    except UNREADABLE:
        unread = _split(body)
    return Batch(unread, lambda: unread)


def _wrapped(body: bytes) -> Batch:
    try:
        batch = decode_batch(body)
    except UNREADABLE:
        batch = None
    if batch is not None and not is_doubtful(body, encode(batch)):
        return Batch(
            batch.events,
            lambda: [bytes(each) for each in decode_unread_batch(body).events],
            historical=bool(batch.historical),
        )
    try:
        unread = decode_unread_batch(body)
    except UNREADABLE:
        return _split_wrapped(body)
    # The events stand in it as they came: only a key of the wrapper itself can be missing.
    if body.count(b'"') != encode(unread).count(b'"'):
        raise _unreadable(body, "a key stands twice")
    texts = [bytes(each) for each in unread.events]
    return Batch(texts, lambda: texts, historical=bool(unread.historical))


def _split(body: bytes) -> list[bytes]:
    """The texts of an array that does not decode, if that is the fault of single events."""
    try:
        return split_array(body.decode())
    except UNREADABLE as error:
        raise _unreadable(body, str(error)) from error


def _split_wrapped(body: bytes) -> Batch:
    try:
        members = split_object(body.decode())
    except UNREADABLE as error:
        raise _unreadable(body, str(error)) from error
    wrapper = dict(members)
    is_repeated = len(wrapper) < len(members)
    historical = _HISTORICAL.get(wrapper.pop("historical", "null"))
    events = wrapper.pop("events", "")
    if wrapper or is_repeated or historical is None or not events.startswith("["):
        raise _unreadable(body, "a field is refused")
    texts = _split(events.encode("utf-8", "surrogatepass"))
    return Batch(texts, lambda: texts, historical=historical)


def _unreadable(body: bytes, reason: str) -> RefusedEventError:
    faults = batch_faults(body) or (
        Fault(pointer="", code="unreadable", detail=f"cannot be read: {reason}"),
    )
    return RefusedEventError(INVALID_BATCH, faults)
