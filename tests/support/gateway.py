"""A gateway in this process on real servers, and what a test asks of it."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import msgspec
import uuid_utils

from contracts import codec
from contracts.administration import DEFINITION_CHANGED, DefinitionChanged
from contracts.cloudevent import CloudEvent
from contracts.places import Position, parse_position
from contracts.topics import CUSTOMER_EVENTS, DEFINITIONS
from services.gateway.__main__ import serve
from services.runtime.access import ensure_admin_key
from services.runtime.kafka.consumer import read_one
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.kafka.topics import ensure_topics
from services.runtime.postgres import connect, migrate_control
from services.runtime.settings import Settings

ADMIN_KEY = "admin-key-of-a-test"
MASTER_KEY = "00" * 32
WORKSPACE = "demo"
PARTITIONS = 3
EVENT_TYPES: dict[str, object] = {
    "signed_up": {},
    "order.completed": {
        "properties": {
            "amount": {"type": "number", "required": True},
            "note": {"type": "string", "pii": True},
        },
        "additional_properties": "allow",
    },
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer, read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> codec.JsonObject:
        """The body as a JSON object."""
        return codec.decode_object(self.body)

    @property
    def position(self) -> Position:
        """The position that the header names."""
        return parse_position(self.headers["Upshot-Position"])


class Gateway:
    """A client of a running gateway, and of the log behind it."""

    def __init__(self, settings: Settings, port: int, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.port = port
        self._session = session

    async def post(
        self,
        path: str,
        body: object = b"",
        *,
        key: str = ADMIN_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """POST bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else codec.encode(body)
        return await self.request("POST", path, content, key=key, headers=headers)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        key: str = ADMIN_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with the key as bearer."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        url = f"http://127.0.0.1:{self.port}{path}"
        content = io.BytesIO(body)  # a large one is sent piece by piece
        async with self._session.request(method, url, data=content, headers=sent) as response:
            return Answer(
                status=response.status, headers=response.headers, body=await response.read()
            )

    async def record(self, position: Position) -> CloudEvent:
        """The record at a position."""
        incoming = await read_one(
            self.settings.kafka,
            position.topic,
            position.partition,
            position.offset,
            prefix=self.settings.topic_prefix,
        )
        assert incoming is not None, "the position stands in the log"
        return codec.decode_record(incoming.value)

    async def count_records(self) -> int:
        """How many records stand on the topic of events."""
        from services.runtime.kafka.consumer import Consumer  # noqa: PLC0415

        consumer = Consumer(self.settings.kafka, CUSTOMER_EVENTS, prefix=self.settings.topic_prefix)
        partitions = range(self.settings.partitions)
        await consumer.assign(dict.fromkeys(partitions, 0))
        ends = await consumer.end_offsets(list(partitions))
        await consumer.stop()
        return sum(ends.values())


def gateway_settings(kafka: str, database: str, topic_prefix: str, **more: object) -> Settings:
    """Settings of a gateway on these servers."""
    return Settings.model_validate(
        {
            "kafka": kafka,
            "postgres": database,
            "topic_prefix": topic_prefix,
            "partitions": PARTITIONS,
            "master_key": MASTER_KEY,
            "workspace": WORKSPACE,
            "port": 0,
            **more,
        }
    )


async def prepare(settings: Settings, event_types: Mapping[str, object] = EVENT_TYPES) -> None:
    """Make topics, schema, admin key and event types."""
    await ensure_topics(
        settings.kafka, prefix=settings.topic_prefix, partitions=settings.partitions
    )
    await migrate_control(settings.postgres)
    session = await connect(settings.postgres)
    await ensure_admin_key(session, WORKSPACE, ADMIN_KEY)
    await session.close()
    changes = [("event_type", name, spec) for name, spec in event_types.items()]
    await define(settings, changes)


async def define(
    settings: Settings, changes: list[tuple[str, str, object]], *, first_revision: int = 1
) -> None:
    """Append definitions to their topic, one revision each."""
    producer = Producer(settings.kafka, prefix=settings.topic_prefix)
    now = datetime.now(tz=UTC)
    records = [
        Outgoing(
            f"{kind}/{name}".encode(),
            codec.encode(
                CloudEvent(
                    id=str(uuid_utils.uuid7()),
                    source="definitions",
                    type=DEFINITION_CHANGED,
                    subject=f"{kind}/{name}",
                    time=now,
                    workspace=WORKSPACE,
                    recordedtime=now,
                    definitionsrevision=revision,
                    data=codec.raw(DefinitionChanged(kind=kind, name=name, spec=codec.raw(spec))),
                )
            ),
        )
        for revision, (kind, name, spec) in enumerate(changes, start=first_revision)
    ]
    await producer.append(DEFINITIONS, 0, records, deadline_seconds=10)
    await producer.stop()


@asynccontextmanager
async def running_gateway(settings: Settings) -> AsyncGenerator[Gateway]:
    """Run a gateway in this loop; its servers must be prepared."""
    listener = socket.create_server((settings.host, 0))
    port: int = listener.getsockname()[1]
    stopping = asyncio.Event()
    task = asyncio.create_task(serve(settings, listener, stopping))
    try:
        async with aiohttp.ClientSession() as session:
            yield Gateway(settings, port, session)
    finally:
        stopping.set()
        await task
