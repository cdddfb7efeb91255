"""Promoting a generation under traffic: how late the live read model is at worst.

Loyalty runs with a rebuilt generation beside it, both following events that come at a steady rate;
then one is made live and the other one again. Late is from an event's acknowledgement to the look
that saw its row in whichever generation was live.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql

from contracts import codec
from contracts.administration import OPERATION_REQUESTED, OperationRequested, OperationVerb
from contracts.cloudevent import CloudEvent
from contracts.topics import CUSTOMER_EVENTS, OPERATIONS
from projections.kernel.generations import schema_of
from services.runtime.kafka.producer import Outgoing, Producer
from tests.benchmarks.support.figures import Figure, at_most
from tests.benchmarks.support.log import filled_log, made, versioned
from tests.benchmarks.support.processes import ChildFailedError
from tests.benchmarks.support.projecting import database, filled, first_generation, processing
from tests.benchmarks.support.servers import Stack

RECORDS = 100_000
CUSTOMERS = 20_000
PER_SECOND = 5_000
LATE_SECONDS_MAX = 2.0
TICK_SECONDS = 0.02
APPEND_SECONDS = 30.0
BESIDE_SECONDS = 5.0  # of traffic before, between and after the promotions
OPERATION_SECONDS = 120.0
MODULE = "projections.loyalty"

_LIVE: LiteralString = """
SELECT generation FROM upshot.generations WHERE projection = 'loyalty' AND state = 'live'"""
_STANDS: LiteralString = "SELECT partition, next_offset FROM {}"
_STATE: LiteralString = "SELECT state, report::text FROM upshot.operations WHERE id = %s"


class Traffic:
    """Events at a steady rate, and how late the live generation is with each."""

    def __init__(self, producer: Producer, conninfo: str) -> None:
        self.sent = 0
        self.late_seconds = 0.0
        self._producer = producer
        self._conninfo = conninfo
        self._waiting: dict[int, list[tuple[int, float]]] = {}
        self._events = made(versioned, first=RECORDS, customers=CUSTOMERS)

    async def send(self) -> None:
        """Send until cancelled."""
        began = time.monotonic()
        while True:
            due = int((time.monotonic() - began) * PER_SECOND) - self.sent
            of_partition: dict[int, list[Outgoing]] = {}
            for partition, outgoing in islice(self._events, max(due, 0)):
                of_partition.setdefault(partition, []).append(outgoing)
            found = await self._producer.append_all(
                CUSTOMER_EVENTS, of_partition, deadline_seconds=APPEND_SECONDS
            )
            for partition, acks in found.items():
                if isinstance(acks, Exception):
                    raise acks
                ack, count = acks[-1]
                end = ack.base_offset + count
                self._waiting.setdefault(partition, []).append((end, time.monotonic()))
            self.sent += max(due, 0)
            await asyncio.sleep(TICK_SECONDS)

    async def watch(self) -> None:
        """Look until cancelled at what the live generation has applied."""
        async with await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True
        ) as session:
            while True:
                row = await (await session.execute(_LIVE)).fetchone()
                assert row is not None, "some generation is live"
                query = sql.SQL(_STANDS).format(
                    sql.Identifier(schema_of("loyalty", row[0]), "checkpoints")
                )
                for partition, stands in await (await session.execute(query)).fetchall():
                    self._see(partition, stands, time.monotonic())
                await asyncio.sleep(TICK_SECONDS / 2)

    def _see(self, partition: int, stands: int, now: float) -> None:
        waiting = self._waiting.get(partition, [])
        while waiting and (waiting[0][0] <= stands or now - waiting[0][1] > self.late_seconds):
            end, at = waiting[0]
            self.late_seconds = max(self.late_seconds, now - at)
            if end > stands:
                return
            waiting.pop(0)


async def measure(stack: Stack) -> list[Figure]:
    async with (
        filled_log(stack.kafka, versioned, records=RECORDS, customers=CUSTOMERS) as log,
        database(stack) as conninfo,
        processing(stack, log, conninfo, MODULE, processes=2) as children,
    ):
        await filled(conninfo, first_generation("loyalty"), log, children)
        producer = Producer(stack.kafka, prefix=log.prefix)
        await producer.start()
        try:
            await _carried_out(producer, conninfo, "rebuild")
            async with _traffic(producer, conninfo) as traffic:
                await asyncio.sleep(BESIDE_SECONDS)
                before, traffic.late_seconds = traffic.late_seconds, 0.0
                for verb in ("promote", "rollback"):
                    await _carried_out(producer, conninfo, verb)
                    await asyncio.sleep(BESIDE_SECONDS)
        finally:
            await producer.stop()
    return [
        Figure(
            name="live read model, late at most while a generation is promoted",
            value=traffic.late_seconds,
            unit="s",
            goal=at_most(LATE_SECONDS_MAX),
            note=f"promote and rollback at {PER_SECOND:,} events/s, {traffic.sent:,} of them; at "
            f"most {before:.2f} s in the {BESIDE_SECONDS:.0f} s before",
        )
    ]


@asynccontextmanager
async def _traffic(producer: Producer, conninfo: str) -> AsyncGenerator[Traffic]:
    traffic = Traffic(producer, conninfo)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(traffic.send()), tasks.create_task(traffic.watch())]
        try:
            yield traffic
        finally:
            for each in running:
                each.cancel()


async def _carried_out(producer: Producer, conninfo: str, verb: OperationVerb) -> None:
    """Ask for an operation and wait for its end."""
    operation, now = f"op_{uuid4().hex}", datetime.now(tz=UTC)
    request = OperationRequested(
        operation=operation, projection="loyalty", verb=verb, requested_by="benchmark"
    )
    record = CloudEvent(
        id=operation,
        source="benchmark",
        type=OPERATION_REQUESTED,
        subject="loyalty",
        time=now,
        workspace="demo",
        recordedtime=now,
        definitionsrevision=0,
        data=codec.raw(request),
    )
    outgoing = Outgoing(b"loyalty", codec.encode(record))
    await producer.append(OPERATIONS, 0, [outgoing], deadline_seconds=APPEND_SECONDS)
    async with (
        asyncio.timeout(OPERATION_SECONDS),
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as session,
    ):
        while True:
            row = await (await session.execute(_STATE, (operation,))).fetchone()
            if row is not None and row[0] == "succeeded":
                return
            if row is not None and row[0] == "failed":
                raise ChildFailedError(f"{verb}: {row[1]}")
            await asyncio.sleep(TICK_SECONDS)
