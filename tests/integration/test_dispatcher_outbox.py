"""The topic ``webhooks`` gets every message in order, and none again that stands there already."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from contracts.cloudevent import SEQUENCE_HEADER, SOURCE_HEADER
from contracts.events import CustomEvent
from contracts.identifiers import CustomerId
from contracts.partitioner import partition_of
from contracts.topics import WEBHOOKS
from projections.kernel import generations
from projections.kernel.generations import Generation
from projections.kernel.outbox import Relayed, encode_relayed
from projections.kernel.reader import GenerationReader
from services.dispatcher.deliveries import NewMessage
from services.dispatcher.projection import Dispatcher
from services.dispatcher.working import WorkingSet
from services.runtime.definitions import DefinitionsFollower
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.postgres import connect
from tests.support.deliveries import MASTER
from tests.support.dispatching import PARTITIONS, Dispatching, dispatching, fresh_event
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(120)

APPEND_SECONDS = 10.0
SETTLE_SECONDS = 60.0  # within a second on a machine that does nothing else


def dispatcher() -> Dispatcher:
    def written(_messages: Sequence[NewMessage]) -> None:
        """Nobody sends here."""

    return Dispatcher(MASTER, first_wait_seconds=0, written=written)


class Topic:
    """The topic of one test, and dispatchers that write to it."""

    def __init__(self, system: Dispatching, generation: Generation, producer: Producer) -> None:
        self.system = system
        self._generation = generation
        self._producer = producer

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[GenerationReader[WorkingSet]]:
        """Run a dispatcher's reader until the block ends."""
        system = self.system
        definitions = DefinitionsFollower(system.kafka, prefix=system.prefix)
        await definitions.start()
        reader = GenerationReader(
            dispatcher(),
            self._generation,
            kafka=system.kafka,
            prefix=system.prefix,
            conninfo=system.database,
            definitions=definitions,
            producer=self._producer,
            committed=lambda: None,
        )
        try:
            await reader.start()
            yield reader
        finally:
            await reader.stop()
            await definitions.stop()

    async def tell(self, customer: CustomerId, count: int) -> list[CustomEvent]:
        told = [fresh_event() for _ in range(count)]
        await self.system.tell(customer, *told)
        return told

    async def settle(self) -> None:
        """Wait until everything told is applied and appended."""
        await eventually(self._is_settled, SETTLE_SECONDS)

    async def _is_settled(self) -> bool:
        if not await self.system.has_applied_everything():
            return False
        cursor = await self.system.session.execute("SELECT count(*) FROM dispatcher_g1.outbox")
        return await cursor.fetchone() == (0,)

    async def bodies(self) -> list[bytes]:
        return [record.value for record in await self.system.on_the_topic()]

    async def queued(self) -> list[bytes]:
        """Bodies of the messages in the queue, as their causes stand in the log."""
        cursor = await self.system.session.execute(
            "SELECT m.body FROM deliveries.messages m JOIN deliveries.deliveries d"
            " ON d.message = m.id ORDER BY d.place"
        )
        return [bytes(row[0]) for row in await cursor.fetchall()]

    async def leave(self, customer: CustomerId, bodies: list[bytes], *, appended: int) -> None:
        """Leave an outbox row as a relay does that is killed before it writes down an append."""
        key = customer.encode()
        target = partition_of(key, PARTITIONS)
        records = [Outgoing(key, body) for body in bodies[:appended]]
        await self._producer.append(WEBHOOKS, target, records, deadline_seconds=APPEND_SECONDS)
        cursor = await self.system.session.execute(
            "UPDATE dispatcher_g1.checkpoints SET progress = jsonb_set(progress, '{sequence}',"
            " to_jsonb((progress->>'sequence')::bigint + %s)) WHERE partition = %s"
            " RETURNING (progress->>'sequence')::bigint",
            (len(bodies), target),
        )
        row = await cursor.fetchone()
        assert row is not None, "the partition has a checkpoint"
        first = int(row[0]) - len(bodies) + 1
        relayed = [
            Relayed(WEBHOOKS, target, first + ordinal, key, body)
            for ordinal, body in enumerate(bodies)
        ]
        await self.system.session.execute(
            "INSERT INTO dispatcher_g1.outbox (partition, sequence_first, first_offset, records)"
            " VALUES (%s, %s, 0, %b)",
            (target, first, encode_relayed(relayed)),
        )


@pytest.fixture(name="topic")
async def _topic(kafka: str, topic_prefix: str, database: str) -> AsyncGenerator[Topic]:
    async with dispatching(kafka, topic_prefix, database) as system:
        await system.endpoint("crm", "https://crm.example/")
        spec = {"on": {"event": "order.completed"}, "endpoint": "crm"}
        await system.define("distribution", "orders", spec)
        producer = Producer(kafka, prefix=topic_prefix)
        control = await connect(database)
        projection = dispatcher()
        try:
            generation = await generations.ensure_live(
                control,
                projection.name,
                version=projection.version,
                partitions=PARTITIONS,
                migrations=projection.migrations,
            )
            yield Topic(system, generation, producer)
        finally:
            await control.close()
            await producer.stop()


async def test_messages_stand_on_the_topic_in_their_order(topic: Topic) -> None:
    await topic.system.define("distribution", "topic", {"on": {"event": "order.completed"}})
    customer = await topic.system.customer()
    async with topic.reading():
        told = await topic.tell(customer, 3)
        await topic.settle()
        told += await topic.tell(customer, 3)
        await topic.settle()

    bodies = await topic.bodies()
    assert [body for body in bodies if b'"name":"orders"' in body] == await topic.queued()
    events = [event.event_id.encode() for event in told for _ in ("orders", "topic")]
    assert all(event in body for event, body in zip(events, bodies, strict=True))


async def test_what_a_killed_process_had_appended_is_passed_over(topic: Topic) -> None:
    customer = await topic.system.customer()
    async with topic.reading():
        await topic.tell(customer, 1)
        await topic.settle()
    before = await topic.bodies()
    left = [b'{"id":"msg_%d"}' % number for number in range(5)]
    await topic.leave(customer, left, appended=3)

    async with topic.reading():
        await topic.settle()
        await topic.tell(customer, 1)
        await topic.settle()

    bodies = await topic.bodies()
    assert bodies[:-1] == [*before, *left]
    assert bodies[-1] == (await topic.queued())[-1]


async def test_two_readers_append_each_message_once(topic: Topic) -> None:
    customers = [await topic.system.customer() for _ in range(10)]
    told = 0
    async with topic.reading():
        for customer in customers:
            told += len(await topic.tell(customer, 5))
        async with topic.reading():
            for customer in customers:
                told += len(await topic.tell(customer, 5))
            await topic.settle()
        for customer in customers:
            told += len(await topic.tell(customer, 5))
        await topic.settle()

    bodies = await topic.bodies()
    assert len(bodies) == len(set(bodies)) == told
    assert sorted(bodies) == sorted(await topic.queued())
    last: dict[bytes, int] = {}
    for record in await topic.system.on_the_topic():
        headers = dict(record.headers)
        source, sequence = headers[SOURCE_HEADER], int(headers[SEQUENCE_HEADER])
        assert sequence == last.get(source, 0) + 1
        last[source] = sequence


async def test_it_goes_on_after_postgres_closed_its_sessions(topic: Topic) -> None:
    customer = await topic.system.customer()
    async with topic.reading() as reader:
        await topic.tell(customer, 1)
        await topic.settle()
        await topic.system.session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await topic.tell(customer, 1)
        await topic.settle()
        await eventually(lambda: not reader.not_ready())

    assert len(await topic.bodies()) == 2
