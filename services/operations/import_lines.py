"""NDJSON cut into batches: whole lines, numbered, each with an identity of its own.

Guarantee: no line is lost or counted twice; a line that is too long for the front door comes out as
such, without ever being held in memory. An event that has neither ``id`` nor ``external_id`` gets
an id, so that sending it twice is safe; nothing else in a line is touched.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from services.gateway.bounds import EVENT_BYTES_MAX
from services.operations.import_state import Digest

BATCH_EVENTS: Final = 2_000
"""Large enough that the round trip does not count, small enough to be sent again."""
BATCH_BYTES: Final = 2 * 1024 * 1024
_BLANKS: Final = b" \t\r\n"


class Line(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line with an event; ``number`` counts from 1, empty lines included."""

    number: int
    text: bytes


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent at once.

    Attributes:
        lines: to be sent.
        too_long: numbers of lines that cannot be sent.
        next_offset: where the input goes on after them, in bytes.
        digest: of the input up to there.
        last_line: lines of the input up to there.
    """

    lines: list[Line]
    too_long: list[int]
    next_offset: int
    digest: str
    last_line: int


class _Identity(msgspec.Struct, frozen=True):
    """The identities that a producer may have given; empty where the key is missing."""

    id: msgspec.Raw = msgspec.Raw()
    external_id: msgspec.Raw = msgspec.Raw()


_decode_identity = msgspec.json.Decoder(_Identity).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class LineReader:
    """Reads an input from where it stands."""

    def __init__(
        self, source: BinaryIO, *, offset: int, lines: int, digest: Digest, batch_events: int
    ) -> None:
        self._source: Final = source
        self._offset = offset
        self._lines = lines
        self._digest: Final = digest
        self._batch_events: Final = batch_events

    def chunks(self) -> Iterator[Chunk]:
        """Cut the rest of the input into chunks, in order."""
        lines: list[Line] = []
        too_long: list[int] = []
        size = 0
        for number, text in self._numbered():
            if text is None:
                too_long.append(number)
            elif text:
                lines.append(Line(number=number, text=text))
                size += len(text)
            if len(lines) >= self._batch_events or size >= BATCH_BYTES:
                yield self._chunk(lines, too_long)
                lines, too_long, size = [], [], 0
        yield self._chunk(lines, too_long)

    def _chunk(self, lines: list[Line], too_long: list[int]) -> Chunk:
        return Chunk(
            lines=lines,
            too_long=too_long,
            next_offset=self._offset,
            digest=self._digest.hexdigest(),
            last_line=self._lines,
        )

    def _numbered(self) -> Iterator[tuple[int, bytes | None]]:
        """Each line, without its blanks, by its number; None for one that is too long."""
        while piece := self._read():
            self._lines += 1
            is_first = self._offset == len(piece)
            text: bytes | None = piece.removeprefix(codecs.BOM_UTF8) if is_first else piece
            while len(piece) > EVENT_BYTES_MAX and not piece.endswith(b"\n"):
                text, piece = None, self._read()
            yield self._lines, None if text is None else text.strip(_BLANKS)

    def _read(self) -> bytes:
        piece = self._source.readline(EVENT_BYTES_MAX + 1)
        self._offset += len(piece)
        self._digest.update(piece)
        return piece


def identified(line: Line, import_id: str) -> bytes:
    """Return the line's event, with an id of this import where the producer gave none."""
    try:
        given = _decode_identity(line.text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line.text  # refused where it is sent, with the place of the fault
    if not (_is_absent(given.id) and _is_absent(given.external_id)):
        return line.text
    text = _without_id(line.text) if bytes(given.id) else line.text
    if text is None:
        return line.text
    rest = text[1:].lstrip(_BLANKS)
    comma = b"" if rest.startswith(b"}") else b","
    made = b'{"id":"%s.%d"%s%s' % (import_id.encode(), line.number, comma, rest)
    return made if len(made) <= EVENT_BYTES_MAX else line.text


def _is_absent(value: msgspec.Raw) -> bool:
    return bytes(value) in {b"", b"null"}


def _without_id(text: bytes) -> bytes | None:
    """Take out an ``id`` that is null; None where a key stands twice, which is to be refused."""
    fields = _decode_fields(text)
    kept = {name: value for name, value in fields.items() if name != "id"}
    encoded = msgspec.json.encode(kept)
    return encoded if encoded.count(b'"') + 2 >= text.count(b'"') else None
