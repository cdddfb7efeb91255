"""A queue of deliveries with a sender at work on it, in a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network
from random import Random

import msgspec

from contracts.definitions.endpoints import Endpoint
from contracts.identifiers import CustomerId, EventId, derive
from contracts.webhooks import delivery_id, message_id
from services.dispatcher.deliveries import EndpointKey, NewMessage, enqueue, migrate_deliveries
from services.dispatcher.endpoint_secrets import SecretStore
from services.dispatcher.sender import Sender
from services.runtime.clock import SystemClock
from services.runtime.egress import open_egress
from services.runtime.postgres import Session, connect, migrate_control
from services.runtime.sealing import MasterKey

WORKSPACE = "demo"
MASTER = MasterKey(b"m" * 32)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = (ip_network("127.0.0.0/8"),)


class Queue:
    """What tests put into the queue, and read of it."""

    def __init__(self, conninfo: str, session: Session) -> None:
        self.conninfo = conninfo
        self.session = session
        self.endpoints: dict[EndpointKey, Endpoint] = {}
        self._offset = 0

    async def define(
        self,
        name: str,
        url: str,
        *,
        concurrency: int = 10,
        rate: str | None = None,
        ordered: bool = True,
        headers: dict[str, str] | None = None,
    ) -> EndpointKey:
        """Define an endpoint, with a secret where it has none."""
        key = EndpointKey(WORKSPACE, name)
        self.endpoints[key] = Endpoint(
            name=name,
            url=url,
            header_digests=dict.fromkeys(headers or {}, "sha256:"),
            secret_digest=None,
            concurrency=concurrency,
            rate_per_second=None if rate is None else Decimal(rate),
            ordered=ordered,
        )
        await self.session.execute(
            "INSERT INTO upshot.endpoint_secrets (workspace, endpoint, secret, headers)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (WORKSPACE, name, MASTER.wrap(SECRET.encode()), _wrapped(headers)),
        )
        return key

    async def put(
        self, endpoint: str | None, count: int = 1, *, customer: int = 0, first_wait: int = 0
    ) -> list[NewMessage]:
        """Put messages for one customer into the queue, in order."""
        made = [self._message(endpoint, customer) for _ in range(count)]
        await self.write(made, first_wait=first_wait)
        return made

    async def write(self, messages: list[NewMessage], *, first_wait: int = 0) -> None:
        """Put messages into the queue in one transaction."""
        async with self.session.transaction():
            await enqueue(self.session, messages, first_wait_seconds=first_wait)

    def _message(self, endpoint: str | None, customer: int) -> NewMessage:
        self._offset += 1
        event = EventId("event_" + derive("event", str(self._offset)).hex())
        return NewMessage(
            id=message_id(WORKSPACE, "orders", event),
            workspace=WORKSPACE,
            customer=CustomerId("cust_" + derive("customer", str(customer)).hex()),
            event=event,
            distribution="orders",
            logical_time=datetime(2026, 11, 21, tzinfo=UTC),
            body=f'{{"offset":{self._offset},"name":"Zoë"}}'.encode(),
            endpoint=endpoint,
            partition=0,
            place=self._offset,
        )

    async def states(self) -> list[str]:
        """Give the state of each delivery, in order of place."""
        cursor = await self.session.execute(
            "SELECT state FROM deliveries.deliveries ORDER BY place"
        )
        return [str(row[0]) for row in await cursor.fetchall()]

    async def all_are(self, state: str) -> bool:
        """Whether there are deliveries, and all of them are in this state."""
        return set(await self.states()) == {state}

    async def attempts(self) -> list[tuple[int | None, str | None, bytes]]:
        """Give status, error and answer of each attempt, in order of time."""
        cursor = await self.session.execute(
            "SELECT status, error, answer FROM deliveries.attempts ORDER BY at"
        )
        return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]

    async def wait_seconds(self) -> float:
        """Give how long the only delivery waits for its next attempt."""
        cursor = await self.session.execute(
            "SELECT extract(epoch FROM next_attempt_at - clock_timestamp())::float8"
            " FROM deliveries.deliveries"
        )
        row = await cursor.fetchone()
        assert row is not None, "there is one delivery"
        return float(row[0])


def _wrapped(headers: dict[str, str] | None) -> bytes | None:
    return MASTER.wrap(msgspec.json.encode(headers)) if headers else None


def delivery_of(message: NewMessage) -> str:
    """Give the id of a message's delivery."""
    return delivery_id(message.id, message.endpoint or "")


@asynccontextmanager
async def queue(database: str) -> AsyncGenerator[Queue]:
    """Make the control and deliveries schemas in a fresh database."""
    await migrate_control(database)
    await migrate_deliveries(database)
    session = await connect(database, schema="deliveries")
    try:
        yield Queue(database, session)
    finally:
        await session.close()


@asynccontextmanager
async def sender(
    queue: Queue,
    *,
    schedule: tuple[int, ...] = (0, 5, 300),
    deadline_seconds: float = 15.0,
    seed: int = 1,
) -> AsyncGenerator[Sender]:
    """Run a sender on the queue until the block ends."""
    async with open_egress(LOOPBACK, deadline_seconds=deadline_seconds) as egress:
        made = Sender(
            queue.conninfo,
            egress,
            queue.endpoints.get,
            SecretStore(MASTER),
            schedule=schedule,
            clock=SystemClock(),
            random=Random(seed),
        )
        running = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
