"""Making another generation live under traffic: outputs join, and it is done or undone."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from psycopg import sql

from contracts import codec
from contracts.effects import LoyaltyEntry
from contracts.topics import LOYALTY_ENTRIES
from projections.kernel import generations, promotion
from projections.kernel.compare import compare
from projections.kernel.generations import Generation
from projections.kernel.promotion import Promotion, PromotionRefusedError, promote
from projections.loyalty.differences import adjusting_entries
from services.runtime.postgres import connect
from tests.support.eventually import eventually
from tests.support.kernel import (
    Log,
    column,
    live_loyalty,
    new_customer,
    new_log,
    next_loyalty,
    purchase,
    reading,
)

pytestmark = pytest.mark.timeout(180)
READING_SECONDS = 60.0

decode_entry = codec.decoder(LoyaltyEntry).decode


class Traffic:
    """Purchases of new customers, one after the other, until stopped."""

    def __init__(self, log: Log) -> None:
        self.sent = 0
        self.ends = False
        self._log = log

    async def run(self) -> None:
        while not self.ends:
            customer = new_customer()
            await self._log.append(customer, purchase(customer, f"order-{self.sent}"))
            self.sent += 1


@asynccontextmanager
async def _traffic(log: Log) -> AsyncGenerator[Traffic]:
    traffic = Traffic(log)
    task = asyncio.create_task(traffic.run())
    try:
        yield traffic
    finally:
        traffic.ends = True
        await task


async def _promoted(
    database: str, live: Generation, candidate: Generation, *, emit_difference: bool = False
) -> Promotion:
    snapshot, steering = await connect(database), await connect(database)
    try:
        return await promote(
            snapshot,
            steering,
            live,
            candidate,
            differences=adjusting_entries,
            emit_difference=emit_difference,
        )
    finally:
        await snapshot.close()
        await steering.close()


async def _counts(database: str, generation: Generation, count: int) -> bool:
    return await column(database, generation, "SELECT count(*) FROM entries") == [count]


async def _outputs(log: Log) -> list[tuple[str, int]]:
    """Source and sequence of each output record, in the order of each partition."""
    events = [codec.decode_record(each.value) for each in await log.read(LOYALTY_ENTRIES)]
    return [(event.source, int(str(event.sequence))) for event in events]


def _assert_each_sequence_once(outputs: Sequence[tuple[str, int]]) -> None:
    by_source: dict[str, list[int]] = {}
    for source, sequence in outputs:
        by_source.setdefault(source, []).append(sequence)
    for sequences in by_source.values():
        assert sequences == list(range(1, len(sequences) + 1))


async def _live_number(database: str) -> int:
    session = await connect(database)
    try:
        found = await generations.live(session, "loyalty")
    finally:
        await session.close()
    assert found is not None
    return found.number


async def test_outputs_join_when_a_generation_is_promoted_and_rolled_back_under_traffic(
    kafka: str, database: str, topic_prefix: str
) -> None:
    live, candidate = await live_loyalty(database), await next_loyalty(database)
    async with (
        new_log(kafka, topic_prefix) as log,
        reading(log, database, live),
        reading(log, database, candidate),
    ):
        async with _traffic(log) as traffic:
            promoted = await _promoted(database, live, candidate)
            there = await _live_number(database)
            sent_before = traffic.sent
            await eventually(lambda: traffic.sent > sent_before + 20, READING_SECONDS)
            back = await _promoted(database, candidate, live)
            sent_before = traffic.sent
            await eventually(lambda: traffic.sent > sent_before + 20, READING_SECONDS)

        async def all_are_out() -> bool:
            return len(await _outputs(log)) == traffic.sent

        for generation in (live, candidate):
            await eventually(
                lambda each=generation: _counts(database, each, traffic.sent), READING_SECONDS
            )
        await eventually(all_are_out, READING_SECONDS)
        assert (promoted.live_generation, there) == (candidate.number, candidate.number)
        assert back.live_generation == live.number == await _live_number(database)
        _assert_each_sequence_once(await _outputs(log))


async def test_a_generation_that_differs_is_not_promoted_and_nothing_is_held(
    kafka: str, database: str, topic_prefix: str
) -> None:
    live, candidate = await live_loyalty(database), await next_loyalty(database)
    async with (
        new_log(kafka, topic_prefix) as log,
        reading(log, database, live),
        reading(log, database, candidate),
    ):
        customer = new_customer()
        await log.append(customer, purchase(customer, "first"))
        await eventually(lambda: _counts(database, candidate, 1), READING_SECONDS)
        session = await connect(database)
        members = sql.Identifier(candidate.schema, "members")
        await session.execute(sql.SQL("UPDATE {} SET earned = 6, available = 6").format(members))
        await session.close()

        with pytest.raises(PromotionRefusedError, match="members"):
            await _promoted(database, live, candidate)

        await log.append(customer, purchase(customer, "second"))
        for generation in (live, candidate):
            await eventually(lambda each=generation: _counts(database, each, 2), READING_SECONDS)
        assert await _live_number(database) == live.number


async def test_what_differs_is_put_out_as_corrections_when_that_is_asked_for(
    kafka: str, database: str, topic_prefix: str
) -> None:
    live, candidate = await live_loyalty(database), await next_loyalty(database)
    async with (
        new_log(kafka, topic_prefix) as log,
        reading(log, database, live),
        reading(log, database, candidate),
    ):
        customers = [new_customer() for _ in range(4)]
        for number, customer in enumerate(customers):
            await log.append(customer, purchase(customer, f"order-{number}"))
        for generation in (live, candidate):
            await eventually(lambda each=generation: _counts(database, each, 4), READING_SECONDS)
        session = await connect(database)
        members, lots = (sql.Identifier(candidate.schema, each) for each in ("members", "lots"))
        await session.execute(sql.SQL("UPDATE {} SET earned = 8, available = 8").format(members))
        await session.execute(sql.SQL("UPDATE {} SET granted = 8, remaining = 8").format(lots))
        await session.close()

        async with _traffic(log) as traffic:
            promoted = await _promoted(database, live, candidate, emit_difference=True)
            sent_before = traffic.sent
            await eventually(lambda: traffic.sent > sent_before + 20, READING_SECONDS)

        async def all_are_out() -> bool:
            return len(await _outputs(log)) == 4 + traffic.sent + promoted.emitted_outputs

        await eventually(all_are_out, READING_SECONDS)
        await eventually(lambda: _counts(database, candidate, 4 + traffic.sent), READING_SECONDS)
        records = [codec.decode_record(each.value) for each in await log.read(LOYALTY_ENTRIES)]
        told: Counter[str] = Counter()
        for record in records:
            told[record.subject] += decode_entry(record.data).points
        assert promoted.emitted_outputs == 4
        assert {told[customer] for customer in customers} == {8}
        balances = await column(
            database, candidate, "SELECT available FROM members ORDER BY available DESC LIMIT 4"
        )
        assert balances == [8] * 4
        _assert_each_sequence_once(await _outputs(log))


async def test_a_promotion_that_does_not_end_in_time_is_undone(
    kafka: str, database: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "PAUSE_SECONDS_MAX", 0.5)
    live, candidate = await live_loyalty(database), await next_loyalty(database)
    async with new_log(kafka, topic_prefix) as log, reading(log, database, live):
        customer = new_customer()
        async with reading(log, database, candidate):
            await log.append(customer, purchase(customer, "first"))
            for generation in (live, candidate):
                await eventually(
                    lambda each=generation: _counts(database, each, 1), READING_SECONDS
                )
        session = await connect(database, schema=live.schema)
        await session.execute(
            "INSERT INTO outbox (partition, sequence_first, first_offset, records)"
            " VALUES (0, 99, 0, %s)",
            (msgspec.msgpack.encode([]),),
        )  # of an owner who does not come to append it

        with pytest.raises(PromotionRefusedError, match="did not meet"):
            await _promoted(database, live, candidate)

        await session.execute("DELETE FROM outbox")
        await session.close()
        await log.append(customer, purchase(customer, "second"))
        await eventually(lambda: _counts(database, live, 2), READING_SECONDS)
        assert await _live_number(database) == live.number


async def test_what_was_promoted_equals_what_it_replaced(
    kafka: str, database: str, topic_prefix: str
) -> None:
    live, candidate = await live_loyalty(database), await next_loyalty(database)
    async with (
        new_log(kafka, topic_prefix) as log,
        reading(log, database, live),
        reading(log, database, candidate),
        _traffic(log) as traffic,
    ):
        await _promoted(database, live, candidate)
        sent_before = traffic.sent
        await eventually(lambda: traffic.sent > sent_before + 20, READING_SECONDS)
        snapshot, steering = await connect(database), await connect(database)

        found = await compare(snapshot, steering, candidate, live)

        await snapshot.close()
        await steering.close()
        assert found.equal
