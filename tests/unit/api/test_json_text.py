"""Reading JSON strictly."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import Json, encode
from contracts.errors import RefusedError
from services.api.json_text import read_json

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def json_values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | text
    keys = st.text(st.sampled_from("ab/~é"))
    return st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20
    )


@given(json_values(ANY_TEXT))
def test_what_was_written_is_read_back(value: Json) -> None:
    assert read_json(encode(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_value_or_a_refusal(text: bytes) -> None:
    with suppress(RefusedError):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        (b"", "", "json"),
        (b"{", "", "json"),
        (b"\xff", "", "utf-8"),
        (b"\xef\xbb\xbf{}", "", "json"),
        (b"[" * 100_000, "", "depth"),
        (b"[" * 80 + b"]" * 80, "/0" * 65, "depth"),
        (b'{"a": {"b": 1, "b": 2}}', "/a/b", "duplicate-key"),
        (b"[NaN]", "/0", "number"),
        (b'{"a": -Infinity}', "/a", "number"),
        (b"[1, 1e99999]", "/1", "number"),
        (b'{"a": 1e4300}', "/a", "number"),
        (b"[1e-309]", "/0", "number"),
        (b"[1e9999999999999999999999]", "/0", "number"),
        (b"1" * 5_000, "", "number"),
        (b"[0.12345678901234567890123456789012345]", "/0", "number"),
        (b'{"a/b": "\\u0000"}', "/a~1b", "text"),
        (b'["\\ud800"]', "/0", "text"),
        (b'{"\\udfff": 1}', "/?", "text"),
    ],
)
def test_a_fault_is_named_by_its_pointer(text: bytes, pointer: str, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read_json(text)

    (fault,) = refused.value.faults
    assert (fault.pointer, fault.code) == (pointer, code)


def test_numbers_keep_their_digits() -> None:
    assert read_json(b"[0.10, 1e3, 12345678901234567890]") == [
        Decimal("0.10"),
        Decimal("1e3"),
        12345678901234567890,
    ]
