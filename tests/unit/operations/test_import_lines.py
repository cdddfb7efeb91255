"""NDJSON cut into batches, and the identity of what has none."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.bounds import EVENT_BYTES_MAX
from services.operations.import_lines import Chunk, Line, LineReader, identified


def _chunks(content: bytes, *, batch_events: int = 100) -> list[Chunk]:
    reader = LineReader(
        io.BytesIO(content), offset=0, lines=0, digest=hashlib.sha256(), batch_events=batch_events
    )
    return list(reader.chunks())


def _identified(text: bytes) -> bytes:
    return identified(Line(number=7, text=text), "import_x")


def test_lines_keep_their_numbers_through_empty_ones() -> None:
    (chunk,) = _chunks(b'\xef\xbb\xbf{"a":1}\r\n\n  \n{"b":2}\n{"c":3}')

    assert [(each.number, each.text) for each in chunk.lines] == [
        (1, b'{"a":1}'),
        (4, b'{"b":2}'),
        (5, b'{"c":3}'),
    ]
    assert chunk.last_line == 5


def test_a_line_too_long_is_named_and_passed_over() -> None:
    long = b"x" * (3 * EVENT_BYTES_MAX)
    longest = b"y" * EVENT_BYTES_MAX

    (chunk,) = _chunks(b"1\n" + long + b"\n2\n" + longest + b"\n" + long)

    assert chunk.too_long == [2, 5]
    assert [(each.number, each.text) for each in chunk.lines] == [
        (1, b"1"),
        (3, b"2"),
        (4, longest),
    ]


@given(
    st.lists(st.sampled_from([b"", b" ", b"{}", b"[1]", b"\xff", b"z" * 70_000]), max_size=12),
    st.integers(1, 4),
)
def test_chunks_cover_the_input_and_can_be_gone_on_from(lines: list[bytes], size: int) -> None:
    content = b"\n".join(lines)

    chunks = _chunks(content, batch_events=size)

    for chunk in chunks:
        read = content[: chunk.next_offset]
        assert chunk.digest == hashlib.sha256(read).hexdigest()
        assert chunk.last_line == len(read.splitlines(keepends=True))
    assert chunks[-1].next_offset == len(content)
    numbers = [line.number for chunk in chunks for line in chunk.lines]
    too_long = [number for chunk in chunks for number in chunk.too_long]
    assert numbers == [n for n, text in enumerate(lines, 1) if text.strip() and len(text) < 70_000]
    assert too_long == [n for n, text in enumerate(lines, 1) if len(text) == 70_000]


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        (b'{"event":"e","goal_value":1.50}', b'{"id":"import_x.7","event":"e","goal_value":1.50}'),
        (b"{ }", b'{"id":"import_x.7"}'),
        (b'{"id":null,"event":"e"}', b'{"id":"import_x.7","event":"e"}'),
        (b'{"external_id":null}', b'{"id":"import_x.7","external_id":null}'),
    ],
)
def test_an_event_without_identity_gets_one(given_text: bytes, expected: bytes) -> None:
    assert _identified(given_text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":"mine"}',
        b'{"\\u0069d":"mine"}',
        b'{"external_id":"mine","id":null}',
        b'{"id":null,"id":null}',
        b'{"id":null,"event":"a","event":"b"}',
        b"[]",
        b"null",
        b"nonsense",
    ],
)
def test_anything_else_is_sent_as_it_stands(text: bytes) -> None:
    assert _identified(text) == text


def test_an_id_never_makes_an_event_too_long() -> None:
    text = b'{"event":"' + b"e" * (EVENT_BYTES_MAX - 12) + b'"}'

    assert len(text) == EVENT_BYTES_MAX
    assert _identified(text) == text
