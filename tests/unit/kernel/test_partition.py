"""The owner of a partition ends when it is asked to, whatever happens at that moment."""

import asyncio

from projections.kernel.partition import PartitionOwner, Wiring
from projections.loyalty.model import WorkingSet
from projections.loyalty.projection import Loyalty
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.producer import Producer
from services.runtime.postgres import DatabaseUnavailableError
from tests.conformance.building import KnownDefinitions

NOWHERE = "127.0.0.1:1"
END_SECONDS = 5.0


class Interrupted(PartitionOwner[WorkingSet]):
    """An owner whose session breaks at the moment that it is asked to end."""

    began: asyncio.Event

    async def _own(self) -> None:
        self.began.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_breaking())


async def _breaking() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise DatabaseUnavailableError("the session broke") from None


async def test_an_owner_ends_though_an_error_meets_the_wish() -> None:
    consumer = Consumer(NOWHERE, "customer.events")
    wiring = Wiring(
        conninfo="",
        schema="",
        live=True,
        partitions=1,
        consumer=consumer,
        definitions=KnownDefinitions(),
        producer=Producer(NOWHERE),
        reader_of=lambda topic: Consumer(NOWHERE, topic),
        report=lambda _partition, _reason: None,
        applied=lambda _count, _checkpoint: None,
        committed=lambda: None,
    )
    owner = Interrupted(Loyalty(), wiring, 0)
    owner.began = asyncio.Event()
    task = asyncio.create_task(owner.run())
    await owner.began.wait()

    task.cancel()

    done, _ = await asyncio.wait([task], timeout=END_SECONDS)
    await consumer.stop()
    assert done == {task}
    assert task.cancelled()
