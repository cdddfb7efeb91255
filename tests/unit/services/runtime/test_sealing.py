"""Sealing: what opens, and what does not."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys

import pytest

from contracts.identifiers import CustomerId
from services.runtime.sealing import (
    MasterKey,
    MasterKeyError,
    UnsealError,
    new_key,
    seal,
    unseal,
)

ONE = CustomerId("cust_" + "1" * 32)
TWO = CustomerId("cust_" + "2" * 32)
PLAIN = b'{"email":"alex@domain.io"}'


def test_a_blob_opens_under_its_customers_key() -> None:
    key = new_key()

    blob = seal(key, ONE, PLAIN)

    assert unseal(key, ONE, blob) == PLAIN
    assert "alex" not in blob


def test_a_blob_opens_for_nobody_else() -> None:
    key = new_key()
    blob = seal(key, ONE, PLAIN)

    for wrong_key, wrong_customer in ((new_key(), ONE), (key, TWO)):
        with pytest.raises(UnsealError):
            unseal(wrong_key, wrong_customer, blob)


@pytest.mark.parametrize("blob", ["", "AAAA", "not base64!", "é", "A" * 100])
def test_what_is_no_blob_does_not_open(blob: str) -> None:
    with pytest.raises(UnsealError):
        unseal(new_key(), ONE, blob)


def test_a_customers_key_rests_wrapped() -> None:
    master, key = MasterKey(secrets.token_bytes(32)), new_key()

    wrapped = master.wrap(key)

    assert key not in wrapped
    assert master.unwrap(wrapped) == key
    with pytest.raises(UnsealError):
        MasterKey(secrets.token_bytes(32)).unwrap(wrapped)


SPELLED = bytes(range(224, 256))


@pytest.mark.parametrize(
    "text",
    [
        SPELLED.hex(),
        base64.b64encode(SPELLED).decode(),
        base64.urlsafe_b64encode(SPELLED).decode().rstrip("="),
    ],
)
def test_a_master_key_is_read_as_hex_or_base64(text: str) -> None:
    assert MasterKey.parse(f" {text}\n") == SPELLED


@pytest.mark.parametrize("text", ["", "short", "00" * 31, "é" * 32])
def test_another_master_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(MasterKeyError) as caught:
        MasterKey.parse(text)

    assert str(caught.value).startswith("UPSHOT_MASTER_KEY is missing or is not 32 bytes")
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("process", ["services.api", "projections.customers"])
@pytest.mark.parametrize("key", ["", "hunter2"])
def test_a_process_without_its_master_key_ends_with_a_sentence(process: str, key: str) -> None:
    away = {"UPSHOT_KAFKA": "127.0.0.1:9", "UPSHOT_POSTGRES": "host=127.0.0.1 port=9"}
    environment = {**os.environ, **away, "UPSHOT_MASTER_KEY": key, "UPSHOT_PORT": "0"}

    ended = subprocess.run(
        [sys.executable, "-m", process], env=environment, capture_output=True, check=False
    )

    last = ended.stderr.decode().splitlines()[-1]
    assert (ended.returncode, "Traceback" in ended.stderr.decode()) == (1, False)
    assert last.startswith("UPSHOT_MASTER_KEY is missing")
    assert "hunter2" not in ended.stderr.decode()
