"""Identifiers derive from their cause, and from nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.identifiers import (
    FACT_KEY_BYTES,
    FactKey,
    derive,
    derived_id,
    event_id,
    fact_key,
    key_of_event_id,
)

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def test_the_key_of_a_fact_never_changes() -> None:
    external = fact_key("demo", "order.completed", external_id="order_12345", producer_id=None)
    bare = fact_key("demo", "order.completed", external_id=None, producer_id="p-1")

    assert external is not None and external.hex() == "3b20db5d0d22eafe5e50bcca032b0649"
    assert bare is not None and bare.hex() == "969d165a62936d42ede6d751a71db893"


def test_an_external_id_outranks_the_producers_own() -> None:
    both = fact_key("demo", "left_review", external_id="A", producer_id="p-1")

    assert both == fact_key("demo", "left_review", external_id="A", producer_id=None)


def test_a_producers_own_id_is_one_across_event_types() -> None:
    one = fact_key("demo", "left_review", external_id=None, producer_id="p-1")
    other = fact_key("demo", "signed_up", external_id=None, producer_id="p-1")

    assert one == other


def test_what_the_producer_does_not_name_has_no_key_of_its_own() -> None:
    assert fact_key("demo", "left_review", external_id=None, producer_id=None) is None


def test_workspaces_events_and_ids_are_kept_apart() -> None:
    keys = {
        fact_key(workspace, event, external_id=external, producer_id=None)
        for workspace in ("demo", "other")
        for event in ("a", "ab")
        for external in ("b", "bb")
    }

    assert len(keys) == 8


@given(st.lists(names, min_size=1, max_size=4), st.lists(names, min_size=1, max_size=4))
def test_equal_parts_and_only_equal_parts_derive_the_same(one: list[str], other: list[str]) -> None:
    assert (derive(*one) == derive(*other)) == (one == other)
    assert len(derive(*one)) == FACT_KEY_BYTES


@given(st.binary(min_size=FACT_KEY_BYTES, max_size=FACT_KEY_BYTES))
def test_an_event_id_reads_back_as_its_key(key: bytes) -> None:
    assert key_of_event_id(event_id(FactKey(key))) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "event_",
        "event_zz",
        "event_" + "0" * 31,
        "event_" + "0" * 33,
        "0" * 32,
        "ms_" + "0" * 32,
    ],
)
def test_what_is_no_event_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        key_of_event_id(text)


def test_a_derived_id_bears_its_prefix_and_depends_on_it() -> None:
    entry, dead = derived_id("entry_", "a", "b"), derived_id("dead_", "a", "b")

    assert entry.startswith("entry_") and len(entry) == len("entry_") + 2 * FACT_KEY_BYTES
    assert entry.removeprefix("entry_") != dead.removeprefix("dead_")
