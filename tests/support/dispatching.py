"""The dispatcher as a process of its own, on a real log, with a real receiver."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from contracts import codec
from contracts.administration import DEFINITION_CHANGED, DefinitionChanged
from contracts.cloudevent import CloudEvent
from contracts.codec import JsonObject
from contracts.events import (
    CUSTOM_EVENT,
    PROFILE_CHANGED,
    CustomEvent,
    Profile,
    ProfileChanged,
    SealedProfile,
)
from contracts.identifiers import CustomerId, EventId, FactKey, event_id
from contracts.partitioner import partition_of
from contracts.topics import CUSTOMER_EVENTS, DEFINITIONS, WEBHOOKS
from services.dispatcher.deliveries import migrate_deliveries
from services.runtime.kafka.consumer import Consumer, Incoming
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.kafka.topics import ensure_topics
from services.runtime.postgres import Session, connect, migrate_control
from services.runtime.sealing import new_key, seal
from tests.support.deliveries import MASTER, SECRET, WORKSPACE
from tests.support.eventually import eventually

PARTITIONS = 3
APPEND_SECONDS = 10.0
START_SECONDS = 90.0  # a process starts within seconds on a machine that does nothing else


class Dispatching:
    """Topics, a database, and processes of the dispatcher on them."""

    def __init__(
        self, kafka: str, prefix: str, database: str, producer: Producer, session: Session
    ) -> None:
        self.kafka = kafka
        self.prefix = prefix
        self.database = database
        self.session = session
        self.revision = 0
        self._producer = producer
        self._keys: dict[CustomerId, bytes] = {}

    async def define(self, kind: str, name: str, spec: object) -> None:
        """Append one revision of a definition."""
        self.revision += 1
        changed = DefinitionChanged(kind=kind, name=name, spec=codec.raw(spec))
        await self._append(
            DEFINITIONS, 0, f"{kind}/{name}", DEFINITION_CHANGED, "definitions", codec.raw(changed)
        )

    async def endpoint(self, name: str, url: str) -> None:
        """Define an endpoint, with a secret."""
        await self.define("endpoint", name, {"url": url})
        await self.session.execute(
            "INSERT INTO upshot.endpoint_secrets (workspace, endpoint, secret) VALUES (%s, %s, %s)",
            (WORKSPACE, name, MASTER.wrap(SECRET.encode())),
        )

    async def customer(self) -> CustomerId:
        """Make a customer with a key."""
        customer = CustomerId(f"cust_{uuid.uuid4().hex}")
        self._keys[customer] = new_key()
        await self.session.execute(
            "INSERT INTO upshot.customer_keys (workspace, customer, wrapped) VALUES (%s, %s, %s)",
            (WORKSPACE, customer.removeprefix("cust_"), MASTER.wrap(self._keys[customer])),
        )
        return customer

    def sealed(self, customer: CustomerId, plain: object) -> str:
        """Seal something under a customer's key."""
        return seal(self._keys[customer], customer, codec.encode(plain))

    def profile(
        self, customer: CustomerId, told: SealedProfile, metadata: JsonObject | None = None
    ) -> Profile:
        """Say something of a customer."""
        return Profile(sealed=self.sealed(customer, told), metadata=codec.raw(metadata or {}))

    async def tell(self, customer: CustomerId, *events: CustomEvent) -> list[EventId]:
        """Append events of one customer."""
        for event in events:
            await self._append(
                CUSTOMER_EVENTS,
                partition_of(customer.encode(), PARTITIONS),
                customer,
                CUSTOM_EVENT,
                "gateway",
                codec.raw(event),
            )
        return [EventId(event.event_id) for event in events]

    async def change(self, customer: CustomerId, profile: Profile) -> None:
        """Append a change of a profile."""
        await self._append(
            CUSTOMER_EVENTS,
            partition_of(customer.encode(), PARTITIONS),
            customer,
            PROFILE_CHANGED,
            "gateway",
            codec.raw(ProfileChanged(profile=profile)),
        )

    async def _append(
        self, topic: str, partition: int, key: str, kind: str, source: str, told: msgspec.Raw
    ) -> None:
        now = datetime.now(tz=UTC)
        value = codec.encode(
            CloudEvent(
                id=uuid.uuid4().hex,
                source=source,
                type=kind,
                subject=key,
                time=now,
                workspace=WORKSPACE,
                recordedtime=now,
                definitionsrevision=self.revision,
                data=told,
            )
        )
        await self._producer.append(
            topic, partition, [Outgoing(key.encode(), value)], deadline_seconds=APPEND_SECONDS
        )

    async def on_the_topic(self) -> list[Incoming]:
        """Read the topic ``webhooks`` from its start to its present end."""
        consumer = Consumer(self.kafka, WEBHOOKS, prefix=self.prefix)
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

    async def next_offsets(self) -> dict[int, int]:
        """Give the checkpoint of each partition of the live generation."""
        made = await self.session.execute("SELECT to_regclass('dispatcher_g1.checkpoints')")
        if await made.fetchone() == (None,):
            return {}
        cursor = await self.session.execute(
            "SELECT partition, next_offset FROM dispatcher_g1.checkpoints"
        )
        return {row[0]: row[1] for row in await cursor.fetchall()}

    async def has_applied_everything(self) -> bool:
        """Whether the live generation has read to the present end of the log."""
        consumer = Consumer(self.kafka, CUSTOMER_EVENTS, prefix=self.prefix)
        await consumer.assign(dict.fromkeys(range(PARTITIONS), 0))
        try:
            ends = await consumer.end_offsets(range(PARTITIONS))
        finally:
            await consumer.stop()
        return await self.next_offsets() == ends

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[asyncio.subprocess.Process]:
        """Run a dispatcher's process; it is killed afterwards."""
        environment = dict(os.environ) | {
            "UPSHOT_KAFKA": self.kafka,
            "UPSHOT_POSTGRES": self.database,
            "UPSHOT_TOPIC_PREFIX": self.prefix,
            "UPSHOT_PARTITIONS": str(PARTITIONS),
            "UPSHOT_MASTER_KEY": MASTER.hex(),
            "UPSHOT_WEBHOOK_ALLOW": "127.0.0.0/8",
            "UPSHOT_WEBHOOK_RETRY_SCHEDULE": "0,1,1",
            "UPSHOT_LOG_LEVEL": "warning",
        }
        with tempfile.TemporaryDirectory(prefix="upshot-test-") as folder:
            running = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.dispatcher",
                env=environment | {"UPSHOT_DATA_DIR": folder},
            )
            try:
                yield running
            finally:
                if running.returncode is None:
                    running.send_signal(signal.SIGKILL)
                await running.wait()


def fresh_event(**fields: object) -> CustomEvent:
    """Make an event that is a fact of its own; fields as in the log's record."""
    event = event_id(FactKey(uuid.uuid4().bytes))
    told = {"event": "order.completed", "event_id": event, **fields}
    return msgspec.convert(told, CustomEvent, from_attributes=True)


@asynccontextmanager
async def dispatching(kafka: str, prefix: str, database: str) -> AsyncGenerator[Dispatching]:
    """Make the topics and schemas of a test."""
    await ensure_topics(kafka, prefix=prefix, partitions=PARTITIONS)
    await migrate_control(database)
    await migrate_deliveries(database)
    producer = Producer(kafka, prefix=prefix)
    await producer.start()
    session = await connect(database)
    try:
        yield Dispatching(kafka, prefix, database, producer, session)
    finally:
        await session.close()
        await producer.stop()


async def until_applied(dispatching: Dispatching) -> None:
    """Wait until the live generation has read the whole log."""
    await eventually(dispatching.has_applied_everything, START_SECONDS)
