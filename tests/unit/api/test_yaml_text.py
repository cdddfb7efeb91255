"""Reading YAML as YAML 1.2 has it, without what makes it dangerous."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import Json, encode
from contracts.errors import RefusedError
from services.api.yaml_text import read_yaml
from tests.unit.api.test_json_text import json_values

PLAIN = st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("éß€😀\n\t")
"""What YAML takes as it is inside quotes; JSON writes line breaks as escapes."""


def test_words_of_older_yaml_stay_text() -> None:
    text = b"on: {event: yes}\nday: 2026-11-21\nhex: 0x10\nversion: '1'\n"

    assert read_yaml(text) == [
        {"on": {"event": "yes"}, "day": "2026-11-21", "hex": "0x10", "version": "1"}
    ]


def test_numbers_are_exact_and_empty_is_null() -> None:
    assert read_yaml(b"{a: [0.10, 1e3, -7, ~], b: }") == [
        {"a": [Decimal("0.10"), Decimal("1e3"), -7, None], "b": None}
    ]


def test_a_stream_has_several_documents() -> None:
    assert read_yaml(b"a: 1\n---\n- b\n---\n") == [{"a": 1}, ["b"], None]


@given(json_values(st.text(PLAIN)))
def test_json_is_yaml(value: Json) -> None:
    assert read_yaml(encode(value)) == [value]


@given(st.text(max_size=200))
def test_any_text_ends_in_documents_or_a_refusal(text: str) -> None:
    with suppress(RefusedError):
        read_yaml(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        (b"a: [", "", "yaml"),
        (b"\xff", "", "utf-8"),
        (b"a: \x00", "", "yaml"),
        (b"a: &x [1]\nb: *x", "/0/b", "alias"),
        (b"a: !!python/object:os.system 1", "/0/a", "tag"),
        (b"--- !mine {}", "/0", "tag"),
        (b"a: 1\na: 2", "/0/a", "duplicate-key"),
        (b"? [a]\n: 1", "/0", "key"),
        (b"- .nan", "/0/0", "number"),
        (b"- 1e99999", "/0/0", "number"),
        (b"- 1e4300", "/0/0", "number"),
        (b"- 1e9999999999999999999999", "/0/0", "number"),
        (b"- " + b"9" * 40, "/0/0", "number"),
        (b"{}\n---\n[" + b"[" * 100_000, "/1" + "/0" * 64, "depth"),
        (b'- "\\0"', "/0/0", "text"),
    ],
)
def test_a_fault_is_named_by_its_pointer(text: bytes, pointer: str, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read_yaml(text)

    (fault,) = refused.value.faults
    assert (fault.pointer, fault.code) == (pointer, code)
