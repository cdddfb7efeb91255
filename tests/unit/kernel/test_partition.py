"""The owner of a partition ends when it is asked to, whatever happens at that moment."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from projections.kernel.partition import PartitionOwner, Wiring
from projections.loyalty.model import WorkingSet
from projections.loyalty.projection import Loyalty
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.producer import Producer
from services.runtime.postgres import DatabaseUnavailableError
from tests.conformance.building import KnownDefinitions
from tests.support.eventually import eventually

NOWHERE = "127.0.0.1:1"
END_SECONDS = 5.0
TRIES_MIN = 3


class Interrupted(PartitionOwner[WorkingSet]):
    """An owner whose session breaks at the moment that it is asked to end."""

    began: asyncio.Event

    async def _own(self) -> None:
        self.began.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_breaking())


class Failing(PartitionOwner[WorkingSet]):
    """An owner whose session breaks by itself, again and again."""

    tries = 0
    wishes = 0

    async def _own(self) -> None:
        self.tries += 1
        task = asyncio.current_task()
        assert task is not None
        self.wishes += task.cancelling()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_broken())


async def _breaking() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise DatabaseUnavailableError("the session broke") from None


async def _broken() -> None:
    await asyncio.sleep(0)
    raise DatabaseUnavailableError("the session broke")


@asynccontextmanager
async def _wiring() -> AsyncGenerator[Wiring]:
    consumer = Consumer(NOWHERE, "customer.events")
    yield Wiring(
        conninfo="",
        schema="",
        partitions=1,
        consumer=consumer,
        definitions=KnownDefinitions(),
        producer=Producer(NOWHERE),
        reader_of=lambda topic: Consumer(NOWHERE, topic),
        report=lambda _partition, _reason: None,
        applied=lambda _count, _checkpoint: None,
        committed=lambda: None,
    )
    await consumer.stop()


async def test_an_owner_ends_though_an_error_meets_the_wish() -> None:
    async with _wiring() as wiring:
        owner = Interrupted(Loyalty(), wiring, 0)
        owner.began = asyncio.Event()
        owner.start()
        await owner.began.wait()

        async with asyncio.timeout(END_SECONDS):
            await owner.end()


async def test_an_owner_goes_on_after_errors_and_nobody_wishes_its_end() -> None:
    async with _wiring() as wiring:
        owner = Failing(Loyalty(), wiring, 0)
        owner.start()

        await eventually(lambda: owner.tries > TRIES_MIN)
        await owner.end()

        assert owner.wishes == 0
