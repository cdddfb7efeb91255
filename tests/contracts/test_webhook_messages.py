"""A webhook's body holds what receivers of Voucherify's events expect, and nothing by chance."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest

from contracts.codec import JsonObject, decode_object
from contracts.webhooks import (
    CustomerSummary,
    FactSummary,
    custom_event_message,
    delivery_id,
    encode_message,
    message_id,
)

VECTORS = Path(__file__).parent / "vectors"
AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def _customer() -> CustomerSummary:
    return CustomerSummary(
        id="cust_" + "0" * 32,
        name="Alex Doe",
        email=None,
        source_id="alex@domain.io",
        metadata=msgspec.Raw(b'{"VIP":true,"score":0.1}'),
    )


def _fact(
    *, referral: str | None = None, referrer: str | None = None, card: str | None = None
) -> FactSummary:
    return FactSummary(
        event_id="event_" + "1" * 32,
        event="order.completed",
        metadata=msgspec.Raw(b'{"amount":149.990}'),
        created_at=AT,
        referral_code=referral,
        referrer_id=referrer,
        loyalty_code=card,
    )


def _body(fact: FactSummary) -> bytes:
    message = custom_event_message(
        fact, _customer(), workspace="demo", distribution="orders", logical_time=AT
    )
    return encode_message(message)


def _body_data(fact: FactSummary) -> JsonObject:
    value = decode_object(_body(fact))["data"]
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    "fact",
    [
        _fact(),
        _fact(referral="NRY-01", referrer="cust_" + "2" * 32, card="CARD-7"),
        _fact(referral="UNKNOWN"),
    ],
    ids=["plain", "referred", "unknown code"],
)
def test_the_data_follows_the_published_schema(fact: FactSummary) -> None:
    schema = json.loads((VECTORS / "voucherify" / "plain_message.schema.json").read_text())
    validator = jsonschema_rs.validator_for(schema)

    found = json.loads(_body(fact))["data"]

    assert [str(error) for error in validator.iter_errors(found)] == []


def test_all_five_keys_stand_there_even_where_there_is_nothing_to_say() -> None:
    found = _body_data(_fact())

    assert list(found) == ["event", "event_schema", "customer", "referral", "loyalty"]
    assert found["referral"] is None
    assert found["loyalty"] is None


def test_an_event_tells_its_own_referral_and_card() -> None:
    event = _body_data(_fact(referral="NRY-01", referrer="cust_" + "2" * 32, card="C"))["event"]

    assert isinstance(event, dict)
    assert isinstance(event["referral"], dict)
    assert list(event["referral"]) == ["referrer_id", "code", "id"]
    assert event["loyalty"] == {"code": "C"}


def test_numbers_keep_the_digits_they_came_with() -> None:
    assert b'{"amount":149.990}' in _body(_fact())


def test_the_same_cause_gives_the_same_bytes() -> None:
    assert _body(_fact()) == _body(_fact())


def test_a_message_has_the_keys_of_the_surface_in_order() -> None:
    found = decode_object(_body(_fact()))

    assert list(found) == ["id", "type", "timestamp", "workspace", "source", "data"]
    assert found["id"] == message_id("demo", "orders", "event_" + "1" * 32)
    assert found["timestamp"] == "2026-11-21T09:30:00Z"
    assert found["source"] == {"name": "orders", "object": "distribution"}


def test_two_endpoints_are_owed_two_deliveries_of_one_message() -> None:
    assert delivery_id("msg_a", "one") != delivery_id("msg_a", "two")
