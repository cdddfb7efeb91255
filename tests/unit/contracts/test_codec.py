"""JSON goes in and out with every digit it had."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec
from contracts.cloudevent import CloudEvent, spell_sequence
from contracts.events import CustomEvent

LONG = b"1" * 5_000
decimals = st.decimals(
    allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | decimals | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=15,
)


@given(values)
def test_any_value_reads_back_as_it_was(value: codec.Json) -> None:
    assert codec.decode_json(codec.encode(value)) == value


@given(values)
def test_the_same_value_has_the_same_bytes(value: codec.Json) -> None:
    once = codec.encode(value)

    assert codec.encode(codec.decode_json(once)) == once


@pytest.mark.parametrize(
    "digits",
    ["149.99", "0.1", "1234567890123456789012345678901234", "-0.000000000000000000000000000001"],
)
def test_no_number_passes_through_a_float(digits: str) -> None:
    assert str(codec.decode_json(digits.encode())) == str(Decimal(digits))
    assert Decimal(codec.encode(codec.decode_json(digits.encode())).decode()) == Decimal(digits)


def test_a_whole_number_of_any_length_reads_back_as_it_was() -> None:
    text = b'{"a":[1' + b"0" * 5_000 + b',0.5,12,{"b":null}]}'

    assert codec.encode(codec.decode_stored(text)) == text


@pytest.mark.parametrize("text", [b"{", b"[%s,]" % LONG, b"[%s,NaN]" % LONG])
def test_what_a_store_gives_back_is_json(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        codec.decode_stored(text)


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"NaN", b"\xff", b"1 2"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        codec.decode_json(text)


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"x"'])
def test_an_object_is_nothing_else(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        codec.decode_object(text)


def test_a_record_reads_back_as_it_was() -> None:
    at = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    record = CloudEvent(
        id="r1",
        source="gateway",
        type="customer.custom_event",
        subject="cust_1",
        time=at,
        workspace="demo",
        recordedtime=at,
        definitionsrevision=3,
        data=codec.raw(CustomEvent(event="left_review", event_id="event_1")),
        sequence=spell_sequence(7),
    )

    assert codec.decode_record(codec.encode(record)) == record


def test_an_attribute_not_set_does_not_stand_in_the_record() -> None:
    at = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    record = CloudEvent(
        id="r1",
        source="gateway",
        type="customer.custom_event",
        subject="cust_1",
        time=at,
        workspace="demo",
        recordedtime=at,
        definitionsrevision=3,
        data=codec.raw({}),
    )

    assert set(codec.decode_object(codec.encode(record))) == {
        "id",
        "source",
        "type",
        "subject",
        "time",
        "workspace",
        "recordedtime",
        "definitionsrevision",
        "data",
        "specversion",
    }


@given(st.integers(0, 10**19), st.integers(0, 10**19))
def test_sequences_order_as_text_as_they_do_as_numbers(one: int, other: int) -> None:
    assert (spell_sequence(one) < spell_sequence(other)) == (one < other)
