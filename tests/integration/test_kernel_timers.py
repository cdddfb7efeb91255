"""Time on a real log: timers fire at their instant, also when nothing else happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import LiteralString

import pytest

from contracts import codec
from contracts.clocks import CLOCK_TICKED
from contracts.topics import CUSTOMER_EVENTS, LOYALTY_ENTRIES
from projections.kernel import generations
from projections.kernel.generations import Generation
from services.runtime.postgres import connect
from tests.conformance.reminding import ROUNDS, Reminding
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
)

pytestmark = pytest.mark.timeout(120)
WAIT_SECONDS = 20.0
AFTER = timedelta(seconds=0.8)
COUNTS: dict[str, LiteralString] = {
    "reminders": "SELECT count(*) FROM reminders",
    "outbox": "SELECT count(*) FROM outbox",
    "facts": "SELECT count(*) FROM facts",
}


async def _ticks(log: Log) -> int:
    types = [codec.decode_record(each.value).type for each in await log.read(CUSTOMER_EVENTS)]
    return types.count(CLOCK_TICKED)


async def test_a_timer_fires_at_its_instant_though_nothing_else_happens(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        projection = Reminding(after=AFTER)
        generation = await live_generation(database, projection)
        customer = new_customer()
        async with reading_into(log, database, generation, projection):
            await log.append(customer, purchase(customer, "order-1"))
            await eventually(lambda: _counts(database, generation, ROUNDS), WAIT_SECONDS)
            await eventually(lambda: _counts(database, generation, 0, "outbox"), WAIT_SECONDS)

        counted_at = (await column(database, generation, "SELECT counted_at FROM facts"))[0]
        assert isinstance(counted_at, datetime)
        entries = [codec.decode_record(each.value) for each in await log.read(LOYALTY_ENTRIES)]
        assert [entry.time for entry in entries] == [counted_at + AFTER, counted_at + 2 * AFTER]
        assert ROUNDS <= await _ticks(log) <= 2 * ROUNDS


async def test_what_fell_due_while_no_process_ran_fires_at_the_start_with_its_own_time(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        projection = Reminding(after=AFTER)
        generation = await live_generation(database, projection)
        customers = [new_customer() for _ in range(8)]
        async with reading_into(log, database, generation, projection):
            for number, customer in enumerate(customers):
                await log.append(customer, purchase(customer, f"order-{number}"))
            await eventually(lambda: _counts(database, generation, 8, "facts"), WAIT_SECONDS)
        due = datetime.now(tz=UTC) + 2 * AFTER
        await eventually(lambda: _is_past(due), WAIT_SECONDS)
        assert await column(database, generation, "SELECT count(*) > 0 FROM timers") == [True]

        async with reading_into(log, database, generation, projection):
            await eventually(lambda: _counts(database, generation, ROUNDS * 8), WAIT_SECONDS)

        late = await column(
            database,
            generation,
            "SELECT count(*) FROM reminders r JOIN facts f USING (workspace, customer, fact)"
            " WHERE r.at <> f.counted_at + r.round * %s",
            AFTER,
        )
        assert late == [0]


async def _is_past(instant: datetime) -> bool:
    return datetime.now(tz=UTC) > instant


async def test_ticks_of_the_live_generation_fire_the_timers_of_the_next_one(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        projection = Reminding()
        generation = await live_generation(database, projection)
        customers = [new_customer() for _ in range(8)]
        async with reading_into(log, database, generation, projection):
            for number, customer in enumerate(customers):
                await log.append(customer, purchase(customer, f"order-{number}"))
            wanted = ROUNDS * len(customers)
            await eventually(lambda: _counts(database, generation, wanted), WAIT_SECONDS)
        session = await connect(database)
        rebuilt = await generations.make_next(
            session,
            projection.name,
            version=projection.version,
            partitions=PARTITIONS,
            migrations=projection.migrations,
        )
        await session.close()
        ticks = await _ticks(log)

        async with reading_into(log, database, rebuilt, projection):
            await eventually(lambda: _counts(database, rebuilt, wanted), WAIT_SECONDS)

        rows = "SELECT r::text FROM reminders r ORDER BY 1"
        assert await column(database, rebuilt, rows) == await column(database, generation, rows)
        assert await _ticks(log) == ticks


async def _counts(
    database: str, generation: Generation, wanted: int, table: str = "reminders"
) -> bool:
    return await column(database, generation, COUNTS[table]) == [wanted]
