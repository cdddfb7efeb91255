"""The binary form is what Postgres' own driver writes for the same values."""

import uuid
from datetime import UTC, datetime, timedelta, timezone
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import adapters
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.numeric import Int8

from projections.kernel import binary
from projections.kernel.errors import InvalidRecordError

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


def as_the_driver(value: object) -> bytes:
    dumper = Transformer(adapters).get_dumper(value, PyFormat.BINARY)
    written = dumper.dump(value)
    assert written is not None, "none of these values is null"
    return bytes(written)


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1))
def test_an_array_of_keys_is_spelled_as_uuids(keys: list[bytes]) -> None:
    assert binary.uuids(keys) == as_the_driver([uuid.UUID(bytes=key) for key in keys])


@given(st.lists(TEXT, min_size=1))
def test_an_array_of_strings_is_spelled_as_text(values: list[str]) -> None:
    assert binary.texts(values) == as_the_driver(values)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_an_array_of_numbers_is_spelled_as_bigints(values: list[int]) -> None:
    assert binary.bigints(values) == as_the_driver([Int8(value) for value in values])


@given(st.datetimes(timezones=st.sampled_from((UTC, timezone(timedelta(hours=5, minutes=30))))))
def test_an_instant_is_spelled_as_microseconds_since_2000(at: datetime) -> None:
    written = as_the_driver(at)

    assert binary.instant(at) == pack(">i", len(written)) + written
    assert binary.micros(at) == int.from_bytes(written, signed=True)


def test_a_customers_key_reads_back_as_its_id() -> None:
    customer = "cust_" + "0f" * 16

    assert binary.customer_id(binary.customer_key(customer)) == customer


@pytest.mark.parametrize(
    "customer",
    ["", "cust_", "cust_0f", "cust_" + "0g" * 16, "user_" + "0f" * 16, "cust_" + "0f" * 17],
)
def test_what_is_no_customer_id_is_the_records_fault(customer: str) -> None:
    with pytest.raises(InvalidRecordError):
        binary.customer_key(customer)
