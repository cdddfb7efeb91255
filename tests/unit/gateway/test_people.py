"""Customers as producers spell them."""

from __future__ import annotations

import msgspec
import pytest

from contracts.codec import decode_object, encode
from contracts.events import SealedProfile
from contracts.identifiers import CustomerId
from services.gateway.errors import RefusedEventError
from services.gateway.identity import Identity, Resolution
from services.gateway.people import Known, know, preview, read_person
from services.runtime.sealing import new_key, unseal

NONE: frozenset[str] = frozenset()
CUSTOMER = CustomerId("cust_" + "0" * 32)


def identity(*, erased: bool = False) -> Identity:
    return Identity(CUSTOMER, None if erased else new_key(), 12, 0.0)


def known(raw: bytes, owner: Identity, foreign: tuple[str, ...] = ()) -> Known:
    return know(read_person(raw, NONE), owner, foreign, personal_keys=NONE)


def sealed_of(made: Known, owner: Identity) -> SealedProfile:
    assert made.profile is not None and made.profile.sealed is not None
    assert owner.sealing_key is not None
    plain = unseal(owner.sealing_key, CUSTOMER, made.profile.sealed)
    return msgspec.json.decode(plain, type=SealedProfile)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"null", ("/customer", "type")),
        (b"[]", ("/customer", "type")),
        (b"{}", ("/customer", "identifier-missing")),
        (b'{"id":null,"source_id":null,"email":null}', ("/customer", "identifier-missing")),
        (b'{"name":"Alex"}', ("/customer", "identifier-missing")),
        (b'{"source_id":""}', ("/customer/source_id", "length")),
        (b'{"source_id":7}', ("/customer/source_id", "type")),
        (b'{"source_id":"' + b"x" * 256 + b'"}', ("/customer/source_id", "length")),
        (b'{"email":"  "}', ("/customer/email", "email")),
        (b'{"email":"nobody"}', ("/customer/email", "email")),
        (b'{"email":"a b@c"}', ("/customer/email", "email")),
        (b'{"source_id":"a","source_id":"b"}', ("/customer/source_id", "duplicate-key")),
        (b'{"source_id":"a\\u0000"}', ("/customer/source_id", "null-character")),
        (b'{"source_id":"a","name":"\\ud800"}', ("/customer/name", "lone-surrogate")),
        (b'{"source_id":"a","metadata":{"a":1,"a":2}}', ("/customer/metadata/a", "duplicate-key")),
        (b'{"source_id":"a","metadata":[]}', ("/customer/metadata", "type")),
        (b'{"source_id":"a","birthdate":"soon"}', ("/customer/birthdate", "date")),
        (
            b'{"source_id":"a","address":{"planet":"x"}}',
            ("/customer/address/planet", "unknown-field"),
        ),
        (b'{"source_id":"a","address":"x"}', ("/customer/address", "type")),
        (b'{"source_id":"a","phone":7}', ("/customer/phone", "type")),
    ],
)
def test_a_bad_customer_is_refused_with_the_pointer(raw: bytes, expected: tuple[str, str]) -> None:
    with pytest.raises(RefusedEventError) as caught:
        read_person(raw, NONE)

    assert expected in [(fault.pointer, fault.code) for fault in caught.value.faults]


def test_an_email_is_compared_trimmed_and_in_lower_case() -> None:
    person = read_person(b'{"email":"  Alex@Domain.IO "}', NONE)

    assert person.claim.email == "alex@domain.io"


def test_null_counts_as_absent() -> None:
    raw = b'{"source_id":"a","email":null,"phone":null,"address":null,"metadata":null}'

    made = known(raw, owner := identity())

    assert sealed_of(made, owner) == SealedProfile(source_id="a")
    assert decode_object(made.answer) == {
        "object": "customer",
        "id": CUSTOMER,
        "source_id": "a",
        "metadata": {},
    }


def test_what_identifies_a_person_is_sealed_and_the_rest_is_not() -> None:
    raw = encode(
        {
            "source_id": "a",
            "email": "A@b.c",
            "name": "Alex",
            "phone": "1",
            "birthdate": "1990-07-31",
            "address": {"city": "Oslo", "line_2": None},
            "metadata": {"VIP": True},
        }
    )

    made = known(raw, owner := identity())

    assert made.profile is not None
    assert bytes(made.profile.metadata) == b'{"VIP":true}'
    assert b"Alex" not in encode(made.profile)
    told = sealed_of(made, owner)
    assert (told.email, told.name, told.birthdate) == ("a@b.c", "Alex", "1990-07-31")
    assert told.address is not None and told.address.city == "Oslo"


def test_personal_keys_of_metadata_are_sealed_too() -> None:
    keys = frozenset({"nickname"})
    person = read_person(b'{"source_id":"a","metadata":{"nickname":"Al","tier":3}}', keys)

    made = know(person, owner := identity(), (), personal_keys=keys)

    assert made.profile is not None and bytes(made.profile.metadata) == b'{"tier":3}'
    assert bytes(sealed_of(made, owner).metadata) == b'{"nickname":"Al"}'
    assert decode_object(made.answer)["metadata"] == {"nickname": "Al", "tier": 3}


def test_an_unchanged_profile_reuses_its_blob() -> None:
    owner = identity()

    first = known(b'{"source_id":"a","name":"Alex"}', owner)
    again = known(b'{"name":"Alex", "source_id":"a"}', owner)
    changed = known(b'{"source_id":"a","name":"Alexa"}', owner)

    assert first.profile == again.profile
    assert changed.profile != first.profile


def test_an_identifier_of_another_customer_is_passed_over_with_a_warning() -> None:
    owner = identity()

    made = known(b'{"source_id":"a","email":"b@c.d"}', owner, ("email",))

    assert sealed_of(made, owner).email is None
    assert "email" not in decode_object(made.answer)
    assert [(each.pointer, each.code) for each in made.warnings] == [
        ("/customer/email", "belongs-to-another")
    ]


def test_an_erased_customer_is_told_nothing_of() -> None:
    made = known(b'{"source_id":"a","metadata":{"x":1}}', identity(erased=True))

    assert made.profile is None


def test_an_id_alone_says_nothing_of_the_profile() -> None:
    assert known(encode({"id": CUSTOMER}), identity()).profile is None


def test_null_clears_fields_only_where_it_is_asked_to() -> None:
    raw = b'{"source_id":"a","email":null,"address":null,"metadata":null}'
    person = read_person(raw, NONE, pointer="", clearing=True)

    made = know(person, identity(), (), personal_keys=NONE, clearing=True)

    assert made.profile is not None
    assert set(made.profile.clears) == {"email", "address", "metadata"}


def test_a_preview_shows_a_customer_that_does_not_exist_without_an_id() -> None:
    shown, warnings = preview(read_person(b'{"source_id":"a"}', NONE), Resolution(None))

    assert (shown.id, shown.source_id, warnings) == (None, "a", ())
