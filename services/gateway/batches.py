"""Request bodies taken apart into events, and read.

Guarantee: each event in order, 1 to ``BATCH_EVENTS_MAX`` of them; a body that cannot be taken apart
is refused as a whole, one whose events are wrong is not. All events of a body, or of a part of a
large one, are read at once; only where that finds anything suspicious is each read by itself.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from msgspec import Raw

from contracts.codec import encode
from contracts.errors import Fault, pointer_to
from services.gateway.admission import UNREADABLE
from services.gateway.bounds import (
    AT_ONCE_BYTES_MAX,
    BATCH_EVENTS_MAX,
    FAULTS_MAX,
    SPLIT_COMMAS_MAX,
)
from services.gateway.dialects.native import (
    EventBody,
    decode_batch,
    decode_events,
    decode_lines,
    decode_unread_batch,
    decode_unread_events,
)
from services.gateway.errors import INVALID_BATCH, RefusedEventError
from services.gateway.pacing import Pace
from services.gateway.splitting import member, split
from services.gateway.strict_json import is_doubtful, read_strictly
from services.runtime import problems
from services.runtime.problems import ProblemError, presentable

JSON: Final = frozenset({"", "application/json"})
NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_BLANKS: Final = b" \t\r"
_LINE: Final = re.compile(rb"[ \t\r\n]*+([^\n]+)")
_FIELDS: Final = frozenset({"events", "historical"})
_HISTORICAL: Final = {b"true": True, b"false": False, b"null": False}
_UNKNOWN: Final = "is not a known field"
_REPEATED: Final = "stands twice in its object"
_GROUP_EVENTS: Final = 100
"""Events of a large batch read together: about a millisecond."""

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


async def take_apart(body: bytes, media: str, pace: Pace) -> Batch:
    """Take a body apart.

    Raises:
        RefusedEventError: it cannot be read, or has no events or too many.
        ProblemError: 415, its media type is none of those taken.
    """
    if media not in NDJSON and media not in JSON:
        detail = "Take application/json or application/x-ndjson."
        raise ProblemError(problems.unsupported_media(detail))
    batch = _at_once(body, media) if len(body) <= AT_ONCE_BYTES_MAX else None
    if batch is None:
        texts, historical = await _texts(body, media, pace)
        _check_count(len(texts))
        readings = await _read(texts, pace)
        return Batch(readings, lambda: texts, historical=historical)
    _check_count(len(batch.readings))
    return batch


def _at_once(body: bytes, media: str) -> Batch | None:
    """Read a body in one step; None where anything in it is suspicious."""
    try:
        if media in NDJSON:
            bodies, lines = decode_lines(body), _lines(body)
            is_fine = len(bodies) == len(lines) and not is_doubtful(body, encode(bodies))
            return Batch(bodies, lambda: lines) if is_fine else None
        if not _is_wrapped(body):
            bodies = decode_events(body)
            is_fine = not is_doubtful(body, encode(bodies))
            return Batch(bodies, lambda: _array(body)) if is_fine else None
        batch = decode_batch(body)
    except UNREADABLE:
        return None
    if is_doubtful(body, encode(batch)):
        return None
    return Batch(
        batch.events,
        lambda: _first(decode_unread_batch(body).events),
        historical=bool(batch.historical),
    )


def _is_wrapped(body: bytes) -> bool:
    return body.lstrip()[:1] == b"{"


def _check_count(count: int) -> None:
    if 1 <= count <= BATCH_EVENTS_MAX:
        return
    has = f"has {count} events" if not count else f"has more than {BATCH_EVENTS_MAX} events"
    detail = f"{has}; 1 to {BATCH_EVENTS_MAX} are taken"
    raise RefusedEventError(INVALID_BATCH, (Fault(pointer="", code="count", detail=detail),))


async def _read(texts: Sequence[bytes], pace: Pace) -> list[Reading]:
    """Read events in groups; a group in which anything is suspicious stays unread."""
    readings: list[Reading] = []
    for start in range(0, len(texts), _GROUP_EVENTS):
        group = texts[start : start + _GROUP_EVENTS]
        readings += _read_group(group)
        if pace.is_due():
            await pace.turn()
    return readings


def _read_group(group: Sequence[bytes]) -> Sequence[Reading]:
    if sum(map(len, group)) > AT_ONCE_BYTES_MAX:
        return group
    text = b"[" + b",".join(group) + b"]"
    try:
        bodies = decode_events(text)
    except UNREADABLE:
        return group
    if len(bodies) != len(group) or is_doubtful(text, encode(bodies)):
        return group
    return bodies


async def _texts(body: bytes, media: str, pace: Pace) -> tuple[Sequence[bytes], bool]:
    """The texts of all events, one too many at most, and whether the batch is historical."""
    if media in NDJSON:
        return _lines(body), False
    is_wrapped = _is_wrapped(body)
    if body.count(b",") <= SPLIT_COMMAS_MAX:
        try:
            if not is_wrapped:
                return _array(body), False
            unread = decode_unread_batch(body)
            # The events stand in it as they came: only a key of the wrapper itself can be missing.
            if body.count(b'"') == encode(unread).count(b'"'):
                return _first(unread.events), bool(unread.historical)
        except UNREADABLE:
            pass
    return await (_split_wrapped(body, pace) if is_wrapped else _split_array(body, "", pace))


def _lines(body: bytes) -> list[bytes]:
    found = islice(_LINE.finditer(body), BATCH_EVENTS_MAX + 1)
    return [each[1].strip(_BLANKS) for each in found]


def _array(body: bytes) -> list[bytes]:
    return _first(decode_unread_events(body))


def _first(events: Sequence[Raw]) -> list[bytes]:
    return [bytes(each) for each in events[: BATCH_EVENTS_MAX + 1]]


async def _split_array(text: bytes, pointer: str, pace: Pace) -> tuple[Sequence[bytes], bool]:
    """The texts of an array that does not decode, which is the fault of single events, if any."""
    if text.lstrip()[:1] != b"[":
        value, faults = read_strictly(text, pointer=pointer)
        absent = Fault(pointer=pointer, code="required", detail="is required")
        other = Fault(pointer=pointer, code="type", detail="is not an array")
        is_absent = pointer and value is None and not faults
        raise RefusedEventError(INVALID_BATCH, faults or ((absent if is_absent else other),))
    try:
        return await split(text, pace, parts_max=BATCH_EVENTS_MAX), False
    except ValueError as error:
        raise _malformed(pointer, error) from error


async def _split_wrapped(body: bytes, pace: Pace) -> tuple[Sequence[bytes], bool]:
    """The same of an object whose ``events`` are an array."""
    values: dict[str, bytes] = {}
    faults: list[Fault] = []
    try:
        for text in await split(body, pace, parts_max=FAULTS_MAX + len(_FIELDS)):
            spelled, value = member(text)
            key: object = json.loads(spelled.decode())
            name = presentable(str(key))
            place = pointer_to("", name)
            if name not in _FIELDS:
                faults.append(Fault(pointer=place, code="unknown-field", detail=_UNKNOWN))
            elif name in values:
                faults.append(Fault(pointer=place, code="duplicate-key", detail=_REPEATED))
            values[name] = value
    except ValueError as error:
        raise _malformed("", error) from error
    historical = _HISTORICAL.get(values.get("historical", b"null"))
    if historical is None:
        detail = "is not true or false"
        faults.append(Fault(pointer="/historical", code="type", detail=detail))
    if faults:
        raise RefusedEventError(INVALID_BATCH, tuple(faults[:FAULTS_MAX]))
    texts, _ = await _split_array(values.get("events", b"null"), "/events", pace)
    return texts, bool(historical)


def _malformed(pointer: str, error: Exception) -> RefusedEventError:
    detail = f"is not JSON: {error}"
    fault = Fault(pointer=pointer, code="malformed-json", detail=detail)
    return RefusedEventError(INVALID_BATCH, (fault,))
