"""From a record in the log to a signed request and a record on the topic, by the real process."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from contracts import codec
from contracts.codec import Json, decode_object
from contracts.events import CustomEvent, SealedProfile
from contracts.identifiers import EventId
from contracts.webhooks import message_id
from services.runtime.kafka.consumer import Incoming
from tests.support.deliveries import SECRET, WORKSPACE
from tests.support.dispatching import (
    START_SECONDS,
    Dispatching,
    dispatching,
    fresh_event,
    until_applied,
)
from tests.support.eventually import eventually
from tests.support.webhook_receiver import Receiver, answering, receiver

pytestmark = pytest.mark.timeout(300)

ALEX = SealedProfile(source_id="alex", email="alex@domain.io", name="Alex Doe")


@pytest.fixture(name="system")
async def _system(kafka: str, topic_prefix: str, database: str) -> AsyncGenerator[Dispatching]:
    async with dispatching(kafka, topic_prefix, database) as made:
        yield made


async def _received(there: Receiver, count: int) -> None:
    await eventually(lambda: len(there.received) >= count, START_SECONDS)


def _part(value: Json, *path: str) -> Json:
    for name in path:
        assert isinstance(value, dict), f"{name} is looked up in an object"
        value = value[name]
    return value


async def test_a_matching_event_is_sent_and_stands_on_the_topic_with_the_same_bytes(
    system: Dispatching,
) -> None:
    async with receiver() as there, system.process():
        await system.endpoint("crm", there.url)
        await system.define(
            "distribution",
            "videos",
            {
                "on": {"event": "left_review"},
                "if": {
                    "all": [
                        {"event": "metadata.review_type", "eq": "video"},
                        {"customer": "metadata.region", "eq": "eu"},
                        {"customer": "email", "ends_with": "@domain.io"},
                    ]
                },
                "endpoint": "crm",
            },
        )
        customer = await system.customer()
        await system.change(customer, system.profile(customer, ALEX, {"region": "eu"}))
        event = fresh_event(
            event="left_review",
            metadata=codec.raw({"review_type": "video"}),
            sealed=system.sealed(customer, {"ip": "203.0.113.9"}),
            profile=system.profile(customer, SealedProfile(name="Al Doe"), {"VIP": True}),
        )
        other = fresh_event(event="left_review", metadata=codec.raw({"review_type": "text"}))
        await system.tell(customer, other, event)
        await _received(there, 1)
        await until_applied(system)
        records = await eventually(lambda: _some(system))

    [got] = there.received
    Webhook(SECRET).verify(got.body, got.headers)
    assert [(record.key, record.value) for record in records] == [(customer.encode(), got.body)]
    body = decode_object(got.body)
    assert body["id"] == message_id(WORKSPACE, "videos", event.event_id)
    assert _part(body, "data", "customer") == {
        "id": customer,
        "name": "Al Doe",
        "email": "alex@domain.io",
        "source_id": "alex",
        "metadata": {"region": "eu", "VIP": True},
        "object": "customer",
    }
    assert _part(body, "data", "event", "metadata") == {
        "review_type": "video",
        "ip": "203.0.113.9",
    }
    assert _part(body, "data", "event_schema", "name") == "left_review"


async def _some(system: Dispatching) -> list[Incoming] | None:
    return await system.on_the_topic() or None


async def test_only_a_first_version_that_counts_and_is_fresh_sends(system: Dispatching) -> None:
    now = datetime.now(tz=UTC)

    def fact(external_id: str, **fields: object) -> CustomEvent:
        return fresh_event(identified="external", external_id=external_id, **fields)

    first = fact("kept", metadata=codec.raw({"amount": 1}))
    later = msgspec.structs.replace(
        first, metadata=codec.raw({"amount": 2}), occurred_at=now + timedelta(seconds=1)
    )
    deleted = fact("deleted", deleted_at=now)
    restored = msgspec.structs.replace(deleted, deleted_at=None)
    old = fact("old", occurred_at=now - timedelta(days=2))
    fresh = fact("fresh", occurred_at=now - timedelta(hours=23))
    history = fact("history", historical=True)
    before = fresh_event()
    async with receiver() as there, system.process():
        await system.endpoint("crm", there.url)
        customer = await system.customer()
        await system.tell(customer, before)
        spec = {"on": {"event": "order.completed"}, "endpoint": "crm", "max_event_age": "P1D"}
        await system.define("distribution", "orders", spec)
        await system.define("distribution", "silent", {**spec, "active": False})
        await system.tell(customer, first, first, later, deleted, restored, old, history, fresh)
        await _received(there, 2)
        await system.define("distribution", "orders", {**spec, "active": False})
        await system.tell(customer, fresh_event())
        await until_applied(system)

    assert _events(there) == [first.event_id, fresh.event_id]


def _events(there: Receiver) -> list[Json]:
    return [_part(decode_object(each.body), "data", "event", "id") for each in there.received]


async def test_a_distribution_without_an_endpoint_writes_to_the_topic_alone(
    system: Dispatching,
) -> None:
    async with system.process():
        await system.define("distribution", "orders", {"on": {"event": "order.completed"}})
        customer = await system.customer()
        [event] = await system.tell(customer, fresh_event())
        await until_applied(system)
        records = await eventually(lambda: _some(system))

    assert [decode_object(record.value)["id"] for record in records] == [
        message_id(WORKSPACE, "orders", event)
    ]


async def test_a_fact_that_two_customers_tell_sends_once(system: Dispatching) -> None:
    told = fresh_event(identified="producer")
    async with receiver() as there, system.process():
        await system.endpoint("crm", there.url)
        spec = {"on": {"event": "order.completed"}, "endpoint": "crm"}
        await system.define("distribution", "orders", spec)
        one, other = await system.customer(), await system.customer()
        await system.tell(one, told)
        await system.tell(other, told)
        marks = [*await system.tell(one, fresh_event()), *await system.tell(other, fresh_event())]
        await _received(there, 3)
        await until_applied(system)

    assert sorted(map(str, _events(there))) == sorted([told.event_id, *marks])


async def test_killed_in_the_middle_it_sends_everything_and_repeats_nothing_on_the_topic(
    system: Dispatching,
) -> None:
    async with receiver() as there:
        await system.endpoint("crm", there.url)
        spec = {"on": {"event": "order.completed"}, "endpoint": "crm"}
        await system.define("distribution", "orders", spec)
        customers = [await system.customer() for _ in range(5)]
        told: list[EventId] = []
        async with system.process() as running:
            for customer in customers:
                told += await system.tell(customer, *(fresh_event() for _ in range(40)))
            await _received(there, 20)
            running.send_signal(signal.SIGKILL)
        async with system.process():
            await _received(there, len(told))
            await until_applied(system)
            await eventually(lambda: _delivered(system, len(told)), START_SECONDS)
            records = await eventually(lambda: _this_many(system, len(told)), START_SECONDS)

    assert {str(event) for event in _events(there)} == set(told)
    bodies = [record.value for record in records]
    assert len(set(bodies)) == len(bodies) == len(told)
    assert {each.body for each in there.received} == set(bodies)


async def _this_many(system: Dispatching, count: int) -> list[Incoming] | None:
    records = await system.on_the_topic()
    return records if len(records) >= count else None


async def _delivered(system: Dispatching, count: int) -> bool:
    cursor = await system.session.execute(
        "SELECT count(*) FROM deliveries.deliveries WHERE state = 'succeeded'"
    )
    return await cursor.fetchone() == (count,)


async def test_a_delivery_that_failed_before_a_restart_is_made_after_it(
    system: Dispatching,
) -> None:
    async with receiver(answering(503, 503, 200)) as there:
        await system.endpoint("crm", there.url)
        spec = {"on": {"event": "order.completed"}, "endpoint": "crm"}
        await system.define("distribution", "orders", spec)
        customer = await system.customer()
        async with system.process():
            await system.tell(customer, fresh_event())
            await _received(there, 1)
        async with system.process():
            await eventually(lambda: _delivered(system, 1), START_SECONDS)

    assert len(set(there.ids())) == 1
