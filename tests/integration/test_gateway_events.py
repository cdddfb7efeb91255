"""Events through a real gateway into a real log."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest

from contracts.events import CustomEvent, SealedProfile
from contracts.identifiers import CustomerId, WorkspaceName
from services.runtime.postgres import connect
from services.runtime.sealing import KeyRing, MasterKey, unseal
from tests.support.gateway import (
    MASTER_KEY,
    WORKSPACE,
    Gateway,
    gateway_settings,
    prepare,
    running_gateway,
)


@pytest.fixture
async def gateway(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[Gateway]:
    settings = gateway_settings(kafka, database, topic_prefix)
    await prepare(settings)
    async with running_gateway(settings) as running:
        yield running


async def test_an_accepted_event_stands_in_the_log_at_the_answered_position(
    gateway: Gateway,
) -> None:
    event = {
        "event": "order.completed",
        "customer": {
            "source_id": "alex@domain.io",
            "email": " Alex@Domain.io",
            "phone": None,
            "name": "Alex Doe",
            "metadata": {"VIP": True},
        },
        "metadata": {"amount": 149.99, "note": "ring twice"},
        "occurred_at": "2026-11-21T10:30:00+01:00",
        "external_id": "order_12345",
        "goal_type": "purchase",
        "goal_name": "web",
        "goal_value": 149.990,
        "deleted_at": None,
        "referral": {"code": "NRY-01"},
        "loyalty": {"code": "CARD-7"},
    }

    answer = await gateway.post("/v1/events", event)

    assert answer.status == 200, answer.body
    record = await gateway.record(answer.position)
    told = msgspec.json.decode(record.data, type=CustomEvent)
    assert record.type == "customer.custom_event"
    assert told.event_id == answer.json["id"]
    assert str(told.goal_value) == "149.99"
    assert bytes(told.metadata) == b'{"amount":149.99}'
    assert b"Alex" not in bytes(record.data)
    assert b"ring twice" not in bytes(record.data)
    session = await connect(gateway.settings.postgres)
    customer = CustomerId(record.subject)
    keys = await KeyRing(MasterKey.parse(MASTER_KEY)).keys(
        session, WorkspaceName(WORKSPACE), [customer]
    )
    await session.close()
    assert told.profile is not None and told.profile.sealed is not None
    plain = unseal(keys[customer], customer, told.profile.sealed)
    profile = msgspec.json.decode(plain, type=SealedProfile)
    assert (profile.email, profile.name) == ("alex@domain.io", "Alex Doe")


async def test_a_batch_answers_each_event_by_itself(gateway: Gateway) -> None:
    events = [
        {"event": "signed_up", "customer": {"source_id": f"person-{n % 3}"}} for n in range(20)
    ]
    events[7] = {"event": "signed_up", "customer": {}}

    answer = await gateway.post("/v1/events/batch", events)

    assert answer.status == 200, answer.body
    assert (answer.json["accepted"], answer.json["refused"]) == (19, 1)
    assert await gateway.count_records() == 19
