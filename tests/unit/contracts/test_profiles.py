"""Profiles merge as the public surface says, and merging is the same wherever it happens."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec
from contracts.codec import JsonObject
from contracts.events import Address, Profile, SealedProfile
from contracts.profiles import (
    CLEARABLE,
    EMPTY_PROFILE,
    METADATA_BYTES_MAX,
    TEXT_FIELDS,
    FieldChange,
    ProfileState,
    digest_of,
    merge,
    open_profile,
    same_json,
)

texts = st.none() | st.sampled_from(["", "a", "b"])
metadata = st.dictionaries(
    st.sampled_from(["VIP", "city", "size"]), st.none() | st.integers(0, 2) | st.booleans()
)
sealed_profiles = st.builds(
    SealedProfile,
    **dict.fromkeys(TEXT_FIELDS, texts),
    address=st.none() | st.builds(Address, city=texts, country=texts),
    metadata=st.dictionaries(st.just("passport"), st.none() | st.text(max_size=2)).map(codec.raw),
)
profiles = st.builds(
    Profile,
    metadata=metadata.map(codec.raw),
    clears=st.lists(st.sampled_from(sorted(CLEARABLE)), max_size=2, unique=True).map(tuple),
)
told = st.lists(st.tuples(st.none() | sealed_profiles, profiles), max_size=6)


def folded(records: list[tuple[SealedProfile | None, Profile]]) -> ProfileState:
    state = EMPTY_PROFILE
    for sealed, profile in records:
        state, _ = merge(state, sealed, profile)
    return state


def test_absent_and_null_keep_what_was_known() -> None:
    state, changes = merge(
        ProfileState(name="Alex", email="a@x.io"), SealedProfile(email="b@x.io"), Profile()
    )

    assert (state.name, state.email) == ("Alex", "b@x.io")
    assert changes == {"email": FieldChange("a@x.io", "b@x.io")}


def test_only_clears_empties_a_field() -> None:
    state, changes = merge(
        ProfileState(name="Alex", address=Address(city="Łódź"), metadata={"VIP": True}),
        None,
        Profile(clears=("name", "address", "metadata")),
    )

    assert state == EMPTY_PROFILE
    assert changes == {
        "name": FieldChange("Alex", None),
        "address": FieldChange({"city": "Łódź"}, None),
        "metadata.VIP": FieldChange(old=True, new=None),
    }


def test_metadata_merges_key_by_key_and_null_removes_a_key() -> None:
    before = ProfileState(metadata={"VIP": True, "city": "Łódź", "deep": {"a": 1}})
    told_of = Profile(metadata=codec.raw({"city": None, "deep": {"b": 2}}))

    state, changes = merge(before, None, told_of)

    assert state.metadata == {"VIP": True, "deep": {"b": 2}}
    assert set(changes) == {"metadata.city", "metadata.deep"}


def test_personal_and_public_metadata_stand_together() -> None:
    state, _ = merge(
        EMPTY_PROFILE,
        SealedProfile(metadata=codec.raw({"passport": "X1"})),
        Profile(metadata=codec.raw({"VIP": True})),
    )

    assert state.metadata == {"passport": "X1", "VIP": True}


def test_an_address_is_replaced_whole_and_an_empty_one_is_none() -> None:
    before = ProfileState(address=Address(city="Łódź", line_2="flat 4"))

    moved, _ = merge(before, SealedProfile(address=Address(city="Gdynia")), Profile())
    kept, _ = merge(before, SealedProfile(address=Address()), Profile())

    assert moved.address == Address(city="Gdynia") and kept == before


def test_clearing_what_is_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match="shoe_size"):
        merge(EMPTY_PROFILE, None, Profile(clears=("shoe_size",)))


@given(told, st.none() | sealed_profiles, profiles)
def test_merging_the_same_again_changes_nothing(
    records: list[tuple[SealedProfile | None, Profile]],
    sealed: SealedProfile | None,
    profile: Profile,
) -> None:
    once, _ = merge(folded(records), sealed, profile)

    twice, changes = merge(once, sealed, profile)

    assert twice == once and changes == {}


@given(told, st.none() | sealed_profiles, profiles)
def test_changes_name_exactly_what_differs(
    records: list[tuple[SealedProfile | None, Profile]],
    sealed: SealedProfile | None,
    profile: Profile,
) -> None:
    before = folded(records)

    after, changes = merge(before, sealed, profile)

    differing = {
        name for name in (*TEXT_FIELDS, "address") if getattr(before, name) != getattr(after, name)
    }
    keys = before.metadata.keys() | after.metadata.keys()
    differing |= {
        f"metadata.{key}"
        for key in keys
        if not same_json(before.metadata.get(key), after.metadata.get(key))
    }
    assert set(changes) == differing


@given(profiles, profiles)
def test_a_digest_tells_profiles_apart(one: Profile, other: Profile) -> None:
    assert (digest_of(one) == digest_of(other)) == (one == other)


@given(sealed_profiles)
def test_what_was_sealed_opens_as_it_was(plain: SealedProfile) -> None:
    assert open_profile(codec.encode(plain)) == plain


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, Decimal("1.0"), True),
        (1, True, False),
        (0, False, False),
        ([1, {"a": True}], [Decimal(1), {"a": True}], True),
        ([1], [True], False),
        ({"a": 1}, {"a": True}, False),
        ({"a": None}, {}, False),
        ("1", 1, False),
        (None, None, True),
    ],
)
def test_numbers_compare_by_amount_and_true_is_no_number(
    one: codec.Json, other: codec.Json, *, same: bool
) -> None:
    assert same_json(one, other) is same


def test_an_empty_state_shares_nothing_that_can_change() -> None:
    empty: JsonObject = EMPTY_PROFILE.metadata

    merge(EMPTY_PROFILE, None, Profile(metadata=codec.raw({"VIP": True})))

    assert empty == {}


def test_metadata_that_would_grow_past_its_bound_stays_as_it_was() -> None:
    part = METADATA_BYTES_MAX // 4
    state = EMPTY_PROFILE
    for number in range(8):
        told = Profile(metadata=codec.raw({f"part-{number}": "x" * part, "last": number}))
        state, _ = merge(state, None, told)

    after, changes = merge(state, None, Profile(metadata=codec.raw({"part-0": None, "VIP": True})))

    assert sorted(state.metadata) == ["last", "part-0", "part-1", "part-2"]
    assert state.metadata["last"] == 2
    assert sorted(after.metadata) == ["VIP", "last", "part-1", "part-2"]
    assert sorted(changes) == ["metadata.VIP", "metadata.part-0"]
