"""Signatures are those of Standard Webhooks: every official vector, and what must be refused."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from services.dispatcher.errors import UnusableSecretError
from services.dispatcher.signing import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"test": 2432232314}'


class Vector(msgspec.Struct):
    name: str
    scheme: str
    msg_id: str
    timestamp: int
    payload: str
    signature: str
    secret: str = ""


class Vectors(msgspec.Struct):
    vectors: list[Vector]


_FILE = Path(__file__).parents[2] / "contracts" / "vectors" / "standard_webhooks.json"
SYMMETRIC = [
    vector
    for vector in msgspec.json.decode(_FILE.read_bytes(), type=Vectors).vectors
    if vector.scheme == "v1"
]


def _now() -> datetime:
    return datetime.now(tz=UTC)


def _signed(*secrets: str, at: datetime | None = None, body: str = BODY) -> dict[str, str]:
    return dict(Signer(*secrets).headers("msg_1", at or _now(), body))


def _verify(headers: dict[str, str], *, secret: str = SECRET, body: str = BODY) -> None:
    Webhook(secret).verify(body, headers, json_parse=False)


def test_the_vectors_of_the_symmetric_scheme_are_there() -> None:
    assert len(SYMMETRIC) == 2


@pytest.mark.parametrize("vector", SYMMETRIC, ids=lambda vector: vector.name)
def test_official_vectors_are_signed_alike(vector: Vector) -> None:
    at = datetime.fromtimestamp(vector.timestamp, tz=UTC)

    headers = Signer(vector.secret).headers(vector.msg_id, at, vector.payload)

    assert headers["webhook-signature"] == vector.signature
    assert headers["webhook-timestamp"] == str(vector.timestamp)
    assert headers["webhook-id"] == vector.msg_id


@pytest.mark.parametrize("vector", SYMMETRIC, ids=lambda vector: vector.name)
def test_a_time_of_another_zone_signs_the_same_instant(vector: Vector) -> None:
    at = datetime.fromtimestamp(vector.timestamp, tz=timezone(timedelta(hours=5, minutes=30)))

    headers = Signer(vector.secret).headers(vector.msg_id, at, vector.payload)

    assert headers["webhook-signature"] == vector.signature
    assert headers["webhook-timestamp"] == str(vector.timestamp)


def test_a_fraction_of_a_second_is_dropped_from_header_and_signature_alike() -> None:
    _verify(_signed(SECRET, at=_now().replace(microsecond=999_999)))


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")])
def test_the_prefix_of_a_secret_makes_no_difference(secret: str) -> None:
    _verify(_signed(secret))


def test_an_unpadded_secret_signs_like_the_padded_one() -> None:
    padded = "whsec_" + base64.b64encode(b"k" * 32).decode()
    assert padded.endswith("=")

    _verify(_signed(padded.rstrip("=")), secret=padded)


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_an_empty_secret_signs_nothing(secret: str) -> None:
    with pytest.raises(UnusableSecretError):
        Signer(secret)


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_while_rotating_a_receiver_with_either_secret_accepts(secret: str) -> None:
    headers = _signed(SECRET, OTHER)

    assert len(headers["webhook-signature"].split(" ")) == 2
    _verify(headers, secret=secret)


def test_a_valid_signature_is_found_behind_a_bad_one_and_an_unknown_scheme() -> None:
    headers = _signed(SECRET)
    good = headers["webhook-signature"]

    headers["webhook-signature"] = f"v1,{'A' * 43}= v2,{'A' * 43}= {good}"

    _verify(headers)


def test_an_empty_body_is_signed_too() -> None:
    _verify(_signed(SECRET, body=""), body="")


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(name: str) -> None:
    headers = _signed(SECRET)
    del headers[name]

    with pytest.raises(WebhookVerificationError):
        _verify(headers)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("webhook-timestamp", "hello"),
        ("webhook-signature", "v1,"),
        ("webhook-signature", f"v1,{'A' * 43}= v1,{'B' * 43}= v1,{'C' * 43}="),
        ("webhook-id", "msg_2"),
    ],
)
def test_a_changed_header_is_refused(header: str, value: str) -> None:
    headers = _signed(SECRET)
    headers[header] = value

    with pytest.raises(WebhookVerificationError):
        _verify(headers)


@pytest.mark.parametrize("seconds", [-301, 302])
def test_a_message_far_from_now_is_refused(seconds: int) -> None:
    headers = _signed(SECRET, at=_now() + timedelta(seconds=seconds))

    with pytest.raises(WebhookVerificationError):
        _verify(headers)


def test_the_first_characters_of_a_signature_are_not_enough() -> None:
    headers = _signed(SECRET)
    headers["webhook-signature"] = headers["webhook-signature"][:11]

    with pytest.raises((WebhookVerificationError, ValueError)):
        _verify(headers)


def test_another_secret_or_body_is_refused() -> None:
    headers = _signed(SECRET)

    with pytest.raises(WebhookVerificationError):
        _verify(headers, secret=OTHER)
    with pytest.raises(WebhookVerificationError):
        _verify(headers, body=BODY + " ")
