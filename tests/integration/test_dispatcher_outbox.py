"""The topic ``webhooks`` gets every message in order, and none again that stands there already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest

from contracts.topics import WEBHOOKS
from services.dispatcher.deliveries import NewMessage
from services.dispatcher.outbox import Outbox
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.kafka.topics import ensure_topics
from tests.support.deliveries import Queue, queue
from tests.support.eventually import eventually

PARTITIONS = 1
APPEND_SECONDS = 10.0


class Topic:
    """The topic of one test, and outboxes on it."""

    def __init__(self, kafka: str, prefix: str, deliveries: Queue, producer: Producer) -> None:
        self.deliveries = deliveries
        self._kafka = kafka
        self._prefix = prefix
        self._producer = producer

    def reader(self) -> Consumer:
        return Consumer(self._kafka, WEBHOOKS, prefix=self._prefix)

    async def append(self, messages: list[NewMessage]) -> None:
        """Append as a process does that is killed before it writes down that it did."""
        records = [Outgoing(each.customer.encode(), each.body) for each in messages]
        await self._producer.append(WEBHOOKS, 0, records, deadline_seconds=APPEND_SECONDS)

    async def bodies(self) -> list[bytes]:
        consumer = self.reader()
        await consumer.assign({0: 0})
        found: list[bytes] = []
        try:
            end = (await consumer.end_offsets([0]))[0]
            while len(found) < end:
                found += [record.value for record in await consumer.poll(0, records_max=1_000)]
        finally:
            await consumer.stop()
        return found

    async def is_drained(self) -> bool:
        cursor = await self.deliveries.session.execute("SELECT count(*) FROM unappended")
        return await cursor.fetchone() == (0,)

    @asynccontextmanager
    async def outbox(self) -> AsyncGenerator[Outbox]:
        """Run an outbox until the block ends."""
        made = Outbox(self.deliveries.conninfo, self._producer, self.reader)
        running = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@pytest.fixture(name="topic")
async def _topic(kafka: str, topic_prefix: str, database: str) -> AsyncGenerator[Topic]:
    await ensure_topics(kafka, prefix=topic_prefix, partitions=PARTITIONS)
    producer = Producer(kafka, prefix=topic_prefix)
    async with queue(database) as deliveries:
        try:
            yield Topic(kafka, topic_prefix, deliveries, producer)
        finally:
            await producer.stop()


async def test_messages_stand_on_the_topic_in_their_order(topic: Topic) -> None:
    async with topic.outbox() as outbox:
        first = await topic.deliveries.put("crm", 3)
        outbox.announce()
        second = await topic.deliveries.put(None, 3)
        outbox.announce()
        await eventually(topic.is_drained)

    assert await topic.bodies() == [each.body for each in (*first, *second)]


async def test_what_a_killed_process_had_appended_is_passed_over(topic: Topic) -> None:
    async with topic.outbox():
        before = await topic.deliveries.put("crm")
        await eventually(topic.is_drained)
    messages = await topic.deliveries.put("crm", 5)
    await topic.append(messages[:3])

    async with topic.outbox():
        await eventually(topic.is_drained)

    assert await topic.bodies() == [each.body for each in (*before, *messages)]


async def test_two_outboxes_append_each_message_once(topic: Topic) -> None:
    async with topic.outbox() as one, topic.outbox() as other:
        messages: list[NewMessage] = []
        for _ in range(20):
            messages += await topic.deliveries.put("crm", 5)
            one.announce()
            other.announce()
        await eventually(topic.is_drained)

    assert await topic.bodies() == [each.body for each in messages]


async def test_an_outbox_goes_on_after_postgres_closed_its_session(topic: Topic) -> None:
    async with topic.outbox() as outbox:
        await topic.deliveries.put("crm")
        await eventually(topic.is_drained)
        await topic.deliveries.session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await topic.deliveries.put("crm")
        await eventually(topic.is_drained)
        await eventually(lambda: outbox.trouble is None)

    assert len(await topic.bodies()) == 2
