"""A log of purchases on a real broker, and readers of it in this process."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import LiteralString, TypeVar

import msgspec
from psycopg import sql

from contracts import codec
from contracts.administration import DEFINITION_CHANGED, DefinitionChanged
from contracts.cloudevent import CloudEvent
from contracts.events import CUSTOM_EVENT, CustomEvent
from contracts.identifiers import event_id, fact_key
from contracts.partitioner import partition_of
from contracts.topics import CUSTOMER_EVENTS, DEFINITIONS
from projections.kernel import generations
from projections.kernel.generations import Generation
from projections.kernel.projection import Projection
from projections.kernel.reader import GenerationReader
from projections.loyalty.model import WorkingSet
from projections.loyalty.projection import Loyalty
from services.runtime.definitions import DefinitionsFollower
from services.runtime.kafka.consumer import Consumer, Incoming
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.kafka.topics import ensure_topics
from services.runtime.postgres import connect

W = TypeVar("W")

PARTITIONS = 3
WORKSPACE = "demo"
REVISION = 2
APPEND_SECONDS = 10.0
POINTS_A_PURCHASE = 5

DEFINITIONS_OF_TESTS: tuple[tuple[str, str, object], ...] = (
    ("event_type", "order.completed", {"properties": {"amount": {"type": "number"}}}),
    (
        "loyalty_program",
        "club",
        {
            "earning_rules": [
                {
                    "id": "order",
                    "on": {"event": "order.completed"},
                    "points": POINTS_A_PURCHASE,
                }
            ]
        },
    ),
)


def new_customer() -> str:
    """Draw a customer id."""
    return f"cust_{uuid.uuid4().hex}"


def purchase(customer: str, order: str, *, amount: int = 10, at: datetime | None = None) -> bytes:
    """Encode the record of one purchase; ``order`` is its external id."""
    now = datetime.now(tz=UTC) if at is None else at
    key = fact_key(WORKSPACE, "order.completed", external_id=order, producer_id=None)
    assert key is not None, "an external id names a fact"
    event = CustomEvent(
        event="order.completed",
        event_id=event_id(key),
        identified="external",
        external_id=order,
        occurred_at=now,
        metadata=codec.raw({"amount": amount}),
    )
    return record(CUSTOM_EVENT, customer, event)


def record(kind: str, customer: str, told: msgspec.Struct) -> bytes:
    """Encode a record as the gateway would."""
    now = datetime.now(tz=UTC)
    return codec.encode(
        CloudEvent(
            id=uuid.uuid4().hex,
            source="gateway",
            type=kind,
            subject=customer,
            time=now,
            workspace=WORKSPACE,
            recordedtime=now,
            definitionsrevision=REVISION,
            data=codec.raw(told),
        )
    )


class Log:
    """The topics of one test."""

    def __init__(self, kafka: str, prefix: str, producer: Producer) -> None:
        self.kafka = kafka
        self.prefix = prefix
        self.producer = producer

    async def append(self, customer: str, *values: bytes) -> None:
        """Append records of one customer."""
        key = customer.encode()
        await self.producer.append(
            CUSTOMER_EVENTS,
            partition_of(key, PARTITIONS),
            [Outgoing(key, value) for value in values],
            deadline_seconds=APPEND_SECONDS,
        )

    async def append_raw(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Append any bytes anywhere."""
        await self.producer.append(
            topic, partition, [Outgoing(key, value)], deadline_seconds=APPEND_SECONDS
        )

    async def read(self, topic: str) -> list[Incoming]:
        """Read a topic from its start to its present end."""
        consumer = Consumer(self.kafka, topic, prefix=self.prefix)
        await consumer.assign(dict.fromkeys(range(PARTITIONS), 0))
        found: list[Incoming] = []
        try:
            for partition, end in (await consumer.end_offsets(range(PARTITIONS))).items():
                offset = 0
                while offset < end:
                    batch = await consumer.poll(partition, records_max=1_000)
                    found.extend(batch)
                    offset += len(batch)
        finally:
            await consumer.stop()
        return found


@asynccontextmanager
async def new_log(kafka: str, prefix: str) -> AsyncGenerator[Log]:
    """Make the topics of a test, with its definitions in them."""
    await ensure_topics(kafka, prefix=prefix, partitions=PARTITIONS)
    producer = Producer(kafka, prefix=prefix)
    await producer.start()
    now = datetime.now(tz=UTC)
    try:
        for revision, (kind, name, spec) in enumerate(DEFINITIONS_OF_TESTS, start=1):
            changed = DefinitionChanged(kind=kind, name=name, spec=codec.raw(spec))
            subject = f"{kind}/{name}"
            value = codec.encode(
                CloudEvent(
                    id=f"definition-{revision}",
                    source="definitions",
                    type=DEFINITION_CHANGED,
                    subject=subject,
                    time=now,
                    workspace=WORKSPACE,
                    recordedtime=now,
                    definitionsrevision=revision,
                    data=codec.raw(changed),
                )
            )
            await producer.append(
                DEFINITIONS,
                0,
                [Outgoing(subject.encode(), value)],
                deadline_seconds=APPEND_SECONDS,
            )
        yield Log(kafka, prefix, producer)
    finally:
        await producer.stop()


async def live_generation(database: str, projection: Projection[W]) -> Generation:
    """Find or make a projection's live generation."""
    session = await connect(database)
    try:
        return await generations.ensure_live(
            session,
            projection.name,
            version=projection.version,
            partitions=PARTITIONS,
            migrations=projection.migrations,
        )
    finally:
        await session.close()


async def live_loyalty(database: str) -> Generation:
    """Find or make loyalty's live generation."""
    return await live_generation(database, Loyalty())


async def next_loyalty(database: str) -> Generation:
    """Make loyalty's next generation, empty and silent."""
    session = await connect(database)
    projection = Loyalty()
    try:
        return await generations.make_next(
            session,
            projection.name,
            version=projection.version,
            partitions=PARTITIONS,
            migrations=projection.migrations,
        )
    finally:
        await session.close()


@asynccontextmanager
async def reading(
    log: Log, database: str, generation: Generation
) -> AsyncGenerator[GenerationReader[WorkingSet]]:
    """Read the log into a generation of loyalty while the block runs."""
    async with reading_into(log, database, generation, Loyalty()) as reader:
        yield reader


@asynccontextmanager
async def reading_into(
    log: Log, database: str, generation: Generation, projection: Projection[W]
) -> AsyncGenerator[GenerationReader[W]]:
    """Read the log into a generation while the block runs."""
    definitions = DefinitionsFollower(log.kafka, prefix=log.prefix)
    await definitions.start()
    reader = GenerationReader(
        projection,
        generation,
        kafka=log.kafka,
        prefix=log.prefix,
        conninfo=database,
        definitions=definitions,
        producer=log.producer,
        committed=lambda: None,
    )
    try:
        await reader.start()
        yield reader
    finally:
        await reader.stop()
        await definitions.stop()


async def column(
    database: str, generation: Generation, query: LiteralString, *parameters: object
) -> Sequence[object]:
    """Answer the first column of a query in a generation's schema, or in none given by name."""
    session = await connect(database, schema=generation.schema)
    try:
        rows = await (await session.execute(sql.SQL(query), parameters)).fetchall()
        return [row[0] for row in rows]
    finally:
        await session.close()
