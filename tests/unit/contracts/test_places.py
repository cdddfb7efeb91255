"""Positions read back as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.places import Position, parse_position
from contracts.topics import TOPICS

positions = st.builds(
    Position,
    st.sampled_from([topic.name for topic in TOPICS]),
    st.integers(0, 999_999),
    st.integers(0, 10**18 - 1),
)


def test_a_position_is_spelled_topic_partition_offset() -> None:
    assert str(Position("customer.events", 7, 18234)) == "customer.events/7/18234"


@given(positions)
def test_a_position_reads_back(position: Position) -> None:
    assert parse_position(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "customer.events",
        "customer.events/7",
        "customer.events/7/",
        "customer.events/-1/3",
        "customer.events/7/18234/0",
        "customer.events/7/18234\n",
        " customer.events/7/18234",
        "Customer.Events/7/18234",
        "customer.events/٧/18234",
        "customer.events/7/" + "9" * 19,
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_position(text)


def test_positions_of_a_partition_order_by_offset() -> None:
    assert Position("customer.events", 7, 9) < Position("customer.events", 7, 10)
