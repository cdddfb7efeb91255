"""Merges on a real log: partitions wait for each other, also held, compared and promoted."""

from __future__ import annotations

from typing import LiteralString

import pytest

from contracts.merges import CUSTOMER_MERGED, CustomerMerged
from contracts.partitioner import partition_of
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel import generations
from projections.kernel.promotion import promote
from services.runtime.postgres import connect
from tests.conformance.gathering import Gathering
from tests.support.eventually import eventually
from tests.support.kernel import (
    PARTITIONS,
    Log,
    column,
    live_generation,
    new_customer,
    new_log,
    purchase,
    reading_into,
    record,
)

pytestmark = pytest.mark.timeout(120)
WAIT_SECONDS = 20.0
PAIRS = 12
COUNT_TAKEN: LiteralString = "SELECT count(*) FROM closed WHERE taken_by IS NOT NULL"
COUNT_LEFT: LiteralString = "SELECT count(*) FROM facts JOIN closed USING (workspace, customer)"


async def _merge(log: Log, merged: str, survivor: str) -> None:
    """Append both records of a merge, and one that a gateway still tells of the merged one."""
    told = CustomerMerged(merged=merged, survivor=survivor)
    await log.append(merged, record(CUSTOMER_MERGED, merged, told))
    partition = partition_of(merged.encode(), PARTITIONS)
    offsets = [
        each.offset for each in await log.read(CUSTOMER_EVENTS) if each.partition == partition
    ]
    closed_at = str(Position(CUSTOMER_EVENTS, partition, max(offsets)))
    await log.append(merged, purchase(merged, f"late-{merged}"))
    taking = CustomerMerged(merged=merged, survivor=survivor, closed_at=closed_at)
    await log.append(survivor, record(CUSTOMER_MERGED, survivor, taking))


async def test_merges_end_and_a_generation_with_them_is_compared_and_promoted(
    kafka: str, database: str, topic_prefix: str
) -> None:
    projection = Gathering()
    async with new_log(kafka, topic_prefix) as log:
        live = await live_generation(database, projection)
        control, reading = await connect(database), await connect(database)
        candidate = await generations.make_next(
            control,
            projection.name,
            version=projection.version,
            partitions=PARTITIONS,
            migrations=projection.migrations,
        )
        try:
            async with (
                reading_into(log, database, live, projection),
                reading_into(log, database, candidate, projection),
            ):
                survivor = new_customer()
                for number in range(PAIRS):
                    merged = new_customer()
                    await log.append(merged, purchase(merged, f"order-{number}"))
                    await _merge(log, merged, survivor)
                promoted = await promote(reading, control, live, candidate)
                await eventually(lambda: _counts(database, live, PAIRS), WAIT_SECONDS)
                await eventually(lambda: _counts(database, candidate, PAIRS), WAIT_SECONDS)
        finally:
            await control.close()
            await reading.close()

        assert promoted.live_generation == candidate.number
        assert await column(database, candidate, COUNT_LEFT) == [0]
        held = await column(database, candidate, "SELECT count(*) FROM facts")
        assert held == [2 * PAIRS]


async def _counts(database: str, generation: generations.Generation, count: int) -> bool:
    facts = await column(database, generation, "SELECT count(*) FROM facts")
    return await column(database, generation, COUNT_TAKEN) == [count] and facts == [2 * PAIRS]
