"""What is sealed opens for its customer only, and the same text is sealed the same way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.identifiers import CustomerId
from services.runtime.sealing import MasterKey, UnsealError, new_key, seal, unseal

ALEX = CustomerId("cust_" + "a" * 32)
BLAIR = CustomerId("cust_" + "b" * 32)


@given(st.binary(max_size=300))
def test_what_was_sealed_opens_to_the_same_bytes(plain: bytes) -> None:
    key = new_key()

    assert unseal(key, ALEX, seal(key, ALEX, plain)) == plain


def test_the_same_text_of_one_customer_is_one_blob_and_of_two_customers_two() -> None:
    key = new_key()

    assert seal(key, ALEX, b"alex@domain.io") == seal(key, ALEX, b"alex@domain.io")
    assert seal(key, ALEX, b"alex@domain.io") != seal(key, BLAIR, b"alex@domain.io")
    assert seal(key, ALEX, b"alex@domain.io") != seal(new_key(), ALEX, b"alex@domain.io")


def test_a_blob_opens_neither_for_another_customer_nor_under_another_key_nor_changed() -> None:
    key = new_key()
    blob = seal(key, ALEX, b"alex@domain.io")

    for opening in (
        lambda: unseal(key, BLAIR, blob),
        lambda: unseal(new_key(), ALEX, blob),
        lambda: unseal(key, ALEX, blob[:-4] + "AAA="),
        lambda: unseal(key, ALEX, "no base64!"),
    ):
        with pytest.raises(UnsealError):
            opening()


def test_a_wrapped_key_opens_under_its_master_key_only() -> None:
    master = MasterKey(new_key())
    wrapped = master.wrap(b"a customer's key")

    assert master.unwrap(wrapped) == b"a customer's key"
    with pytest.raises(UnsealError):
        MasterKey(new_key()).unwrap(wrapped)
