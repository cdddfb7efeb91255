# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The benchmarks' own use of aiokafka, typed here once: topics made, filled, deleted.

It shares no code with what is measured, so that a peer's input does not depend on ours.
"""

from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import asynccontextmanager
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import murmur2

PARTITIONS = 12
BATCH_BYTES = 900_000  # under Kafka's default message.max.bytes of 1,048,588
BATCHES_IN_FLIGHT_MAX = 24  # two for each of twelve partitions: bounds memory while filling
POSITIVE = 0x7FFFFFFF  # Kafka's toPositive: the sign bit is cleared

KeyedRecord = tuple[bytes, bytes]


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """A topic that holds records and grows no more."""

    topic: str
    partitions: int
    records: int


@asynccontextmanager
async def filled_topic(
    kafka: str, name: str, records: Iterable[KeyedRecord], *, partitions: int = PARTITIONS
) -> AsyncGenerator[Filled]:
    """A topic of that block's own, filled with keyed records in order, deleted afterwards."""
    async with empty_topic(kafka, name, partitions=partitions) as topic:
        count = await _fill(kafka, topic, records, partitions)
        yield Filled(topic=topic, partitions=partitions, records=count)


@asynccontextmanager
async def empty_topic(
    kafka: str, name: str, *, partitions: int = PARTITIONS
) -> AsyncGenerator[str]:
    """An empty topic of that block's own, deleted afterwards; returns its real name."""
    topic = f"benchmark.{name}.{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        settings = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=settings)])
        yield topic
        await admin.delete_topics([topic])
    finally:
        await admin.close()


class _Filling:
    """Batches under construction, one for each partition."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self.producer = producer
        self.topic = topic
        self.batches = [producer.create_batch() for _ in range(partitions)]
        self.acknowledgements: list[Awaitable[object]] = []

    async def add(self, records: Iterable[KeyedRecord]) -> int:
        """Append all records in order and return how many there were."""
        partitions: dict[bytes, int] = {}
        batches = self.batches
        count = 0
        for key, value in records:
            partition = partitions.get(key)
            if partition is None:
                partition = partitions[key] = (murmur2(key) & POSITIVE) % len(batches)
            if batches[partition].append(key=key, value=value, timestamp=None) is None:
                await self.send(partition)
                batches[partition].append(key=key, value=value, timestamp=None)
            count += 1
        return count

    async def send(self, partition: int) -> None:
        batch = self.batches[partition]
        self.batches[partition] = self.producer.create_batch()
        if batch.record_count() == 0:
            return
        sent = await self.producer.send_batch(batch, self.topic, partition=partition)
        self.acknowledgements.append(sent)
        if len(self.acknowledgements) >= BATCHES_IN_FLIGHT_MAX:
            await self.settle()

    async def settle(self) -> None:
        for acknowledgement in self.acknowledgements:
            await acknowledgement
        self.acknowledgements.clear()


async def _fill(kafka: str, topic: str, records: Iterable[KeyedRecord], partitions: int) -> int:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        max_request_size=BATCH_BYTES + 100_000,
    )
    await producer.start()
    try:
        filling = _Filling(producer, topic, partitions)
        count = await filling.add(records)
        for partition in range(partitions):
            await filling.send(partition)
        await filling.settle()
    finally:
        await producer.stop()
    return count
