"""Reading a real log into real rows: once each, also after restarts, zombies and other logs."""

import asyncio
from typing import LiteralString

import psycopg
import pytest

from contracts import codec
from contracts.topics import CUSTOMER_EVENTS, DEAD_LETTERS, LOYALTY_ENTRIES
from projections.kernel import checkpoint as checkpoints
from projections.kernel.batch import Applier
from projections.kernel.errors import FencedError
from projections.kernel.failures import DEAD_LETTERS_MAX
from projections.kernel.generations import Generation
from projections.kernel.outbox import Relayed, encode_relayed
from projections.loyalty.projection import Loyalty
from services.runtime.definitions import DefinitionsFollower
from services.runtime.postgres import connect
from tests.support.eventually import eventually
from tests.support.kernel import (
    PARTITIONS,
    POINTS_A_PURCHASE,
    Log,
    column,
    live_loyalty,
    new_customer,
    new_log,
    next_loyalty,
    purchase,
    reading,
)

pytestmark = pytest.mark.timeout(120)
REBALANCE_SECONDS = 20.0


async def _posted(database: str, generation: Generation) -> int:
    found = await column(database, generation, "SELECT coalesce(sum(points), 0) FROM entries")
    return int(str(found[0]))


async def _is_posted(database: str, generation: Generation, points: int) -> bool:
    return await _posted(database, generation) == points


async def test_each_record_has_its_effect_once_also_after_a_restart(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customers = [new_customer() for _ in range(20)]
        for number, customer in enumerate(customers):
            await log.append(customer, purchase(customer, f"order-{number}"))
        async with reading(log, database, generation):
            await eventually(
                lambda: _is_posted(database, generation, 20 * POINTS_A_PURCHASE),
                REBALANCE_SECONDS,
            )

        for number, customer in enumerate(customers):
            await log.append(customer, purchase(customer, f"later-{number}"))
        async with reading(log, database, generation):
            await eventually(
                lambda: _is_posted(database, generation, 40 * POINTS_A_PURCHASE),
                REBALANCE_SECONDS,
            )
            await eventually(lambda: _relayed(database, generation), REBALANCE_SECONDS)

        entries = [codec.decode_record(each.value) for each in await log.read(LOYALTY_ENTRIES)]
        assert len({(entry.source, entry.sequence) for entry in entries}) == 40
        assert len({entry.id for entry in entries}) == 40


async def _relayed(database: str, generation: Generation) -> bool:
    return await column(database, generation, "SELECT count(*) FROM outbox") == [0]


async def test_two_processes_share_the_partitions_and_hand_them_over(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customers = [new_customer() for _ in range(30)]
        async with reading(log, database, generation):
            for customer in customers:
                await log.append(customer, purchase(customer, f"one-{customer}"))
            async with reading(log, database, generation):
                for customer in customers:
                    await log.append(customer, purchase(customer, f"two-{customer}"))
                await eventually(
                    lambda: _is_posted(database, generation, 60 * POINTS_A_PURCHASE),
                    REBALANCE_SECONDS,
                )
            for customer in customers:
                await log.append(customer, purchase(customer, f"three-{customer}"))
            await eventually(
                lambda: _is_posted(database, generation, 90 * POINTS_A_PURCHASE),
                REBALANCE_SECONDS,
            )


async def test_an_owner_that_lost_its_partition_changes_nothing(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customer = new_customer()
        await log.append(customer, purchase(customer, "order-1"))
        records = await log.read(CUSTOMER_EVENTS)
        definitions = DefinitionsFollower(log.kafka, prefix=log.prefix)
        await definitions.start()
        session = await connect(database, schema=generation.schema)
        partition = records[0].partition
        zombie = await checkpoints.claim(session, partition)
        await checkpoints.claim(session, partition)
        applier = Applier(
            Loyalty(),
            session,
            definitions,
            live=True,
            partition=zombie.partition,
            partitions=PARTITIONS,
        )

        with pytest.raises(FencedError):
            await applier.apply(zombie, records)

        assert await _posted(database, generation) == 0
        assert await column(database, generation, "SELECT count(*) FROM facts") == [0]
        await session.close()
        await definitions.stop()


async def test_another_log_stops_the_processor_as_diverged(
    kafka: str, database: str, topic_prefix: str
) -> None:
    customer = new_customer()
    generation = await live_loyalty(database)
    async with new_log(kafka, topic_prefix) as log:
        await log.append(customer, *(purchase(customer, f"order-{n}") for n in range(3)))
        async with reading(log, database, generation):
            await eventually(
                lambda: _is_posted(database, generation, 3 * POINTS_A_PURCHASE), REBALANCE_SECONDS
            )

    await _stands_diverged(kafka, f"{topic_prefix}shorter-", database, generation, customer, 2)
    await _stands_diverged(kafka, f"{topic_prefix}other-", database, generation, customer, 4)

    assert await _posted(database, generation) == 3 * POINTS_A_PURCHASE


async def _stands_diverged(
    kafka: str, prefix: str, database: str, generation: Generation, customer: str, count: int
) -> None:
    async with new_log(kafka, prefix) as other:
        await other.append(customer, *(purchase(customer, f"other-{n}") for n in range(count)))
        async with reading(other, database, generation) as reader:
            reasons = await eventually(
                lambda: [each for each in reader.not_ready() if "Diverged" in each] or None,
                REBALANCE_SECONDS,
            )
            assert len(reasons) == 1
            await eventually(lambda: _is_written_down(database, generation))


async def _is_written_down(database: str, generation: Generation) -> bool:
    query = "SELECT stopped FROM checkpoints WHERE stopped IS NOT NULL"
    stopped = await column(database, generation, query)
    return [str(each)[:10] for each in stopped] == ["diverged: "]


async def test_a_record_that_cannot_be_applied_is_set_aside_and_all_others_apply(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customer = new_customer()
        good = [purchase(customer, f"order-{number}") for number in range(50)]
        broken = purchase(customer, "poison").replace(b"order.completed", b"order.\\ud800completed")
        await log.append(customer, *good[:17], broken, *good[17:33], b"{}", *good[33:])

        async with reading(log, database, generation):
            await eventually(
                lambda: _is_posted(database, generation, 50 * POINTS_A_PURCHASE), REBALANCE_SECONDS
            )
            await eventually(lambda: _relayed(database, generation), REBALANCE_SECONDS)

        set_aside = await column(
            database, generation, "SELECT record_offset FROM dead_letters ORDER BY 1"
        )
        assert set_aside == [17, 34]
        letters = [codec.decode_record(each.value) for each in await log.read(DEAD_LETTERS)]
        assert len(letters) == 2


async def test_too_many_dead_letters_stop_the_processor(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customer = new_customer()
        await log.append(customer, *[b"no record"] * (DEAD_LETTERS_MAX + 20))

        async with reading(log, database, generation) as reader:
            await eventually(
                lambda: any("TooManyDeadLetters" in each for each in reader.not_ready()),
                REBALANCE_SECONDS,
            )

        dead = await column(database, generation, "SELECT count(*) FROM dead_letters")
        assert dead == [DEAD_LETTERS_MAX - 1]


async def test_a_rebuild_gives_the_same_rows_and_appends_nothing(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customers = [new_customer() for _ in range(10)]
        async with reading(log, database, generation):
            for customer in customers:
                await log.append(customer, purchase(customer, f"order-{customer}"))
            await eventually(
                lambda: _is_posted(database, generation, 10 * POINTS_A_PURCHASE), REBALANCE_SECONDS
            )
            await eventually(lambda: _relayed(database, generation), REBALANCE_SECONDS)
            appended = len(await log.read(LOYALTY_ENTRIES))
            again = await next_loyalty(database)
            async with reading(log, database, again):
                await eventually(
                    lambda: _is_posted(database, again, 10 * POINTS_A_PURCHASE), REBALANCE_SECONDS
                )

        rebuilt, lived = await _rows_of(database, again), await _rows_of(database, generation)
        assert rebuilt ^ lived == set()
        assert len(await log.read(LOYALTY_ENTRIES)) == appended == 10


async def _rows_of(database: str, generation: Generation) -> set[str]:
    queries: tuple[LiteralString, ...] = (
        "SELECT 'entry ' || t::text FROM entries t",
        "SELECT 'lot ' || t::text FROM lots t",
        "SELECT 'member ' || t::text FROM members t",
        "SELECT 'profile ' || t::text FROM profiles t",
        "SELECT 'fact ' || t::text FROM facts t",
    )
    return {str(row) for each in queries for row in await column(database, generation, each)}


async def test_a_relay_killed_before_its_acknowledgement_leaves_no_gap_and_no_new_sequence(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customer = new_customer()
        await log.append(customer, purchase(customer, "order-1"))
        async with reading(log, database, generation):
            await eventually(
                lambda: _is_posted(database, generation, POINTS_A_PURCHASE), REBALANCE_SECONDS
            )
            await eventually(lambda: _relayed(database, generation), REBALANCE_SECONDS)
        await _forget_the_acknowledgement(database, generation, log)

        async with reading(log, database, generation):
            await eventually(lambda: _relayed(database, generation), REBALANCE_SECONDS)
            await log.append(customer, purchase(customer, "order-2"))
            await eventually(lambda: _has_entries(log, 2), REBALANCE_SECONDS)

        entries = [codec.decode_record(each.value) for each in await log.read(LOYALTY_ENTRIES)]
        assert [int(str(entry.sequence)) for entry in entries] == [1, 2]


async def _has_entries(log: Log, count: int) -> bool:
    return len(await log.read(LOYALTY_ENTRIES)) == count


async def _forget_the_acknowledgement(database: str, generation: Generation, log: Log) -> None:
    """Put the outbox row back as if the relay had died between append and acknowledgement."""
    (found,) = await log.read(LOYALTY_ENTRIES)
    row = encode_relayed([Relayed(LOYALTY_ENTRIES, found.partition, 1, found.key, found.value)])
    session = await connect(database, schema=generation.schema)
    await session.execute(
        "INSERT INTO outbox (partition, sequence_first, first_offset, records)"
        " VALUES (%s, 1, 0, %b)",
        (found.partition, row),
    )
    await session.execute("UPDATE relays SET next_offset = next_offset - 1")
    await session.close()


async def test_a_record_relayed_twice_is_applied_once(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customer = new_customer()
        relayed = codec.decode_record(purchase(customer, "order-1"))
        sequenced = codec.encode(
            {
                **codec.decode_object(codec.encode(relayed)),
                "source": "referrals/0",
                "sequence": f"{7:020d}",
            }
        )
        other = purchase(customer, "order-2")
        await log.append(customer, sequenced, sequenced, other, sequenced)

        async with reading(log, database, generation):
            await eventually(
                lambda: _is_posted(database, generation, 2 * POINTS_A_PURCHASE), REBALANCE_SECONDS
            )
            await eventually(lambda: _next_offset_is(database, generation, 4))

        outcomes = await column(database, generation, "SELECT ordinal FROM facts")
        assert sorted(str(each) for each in outcomes) == ["1", "1"]


async def _next_offset_is(database: str, generation: Generation, offset: int) -> bool:
    found = await column(database, generation, "SELECT max(next_offset) FROM checkpoints")
    await asyncio.sleep(0)
    return found == [offset]


async def test_a_lock_that_a_frozen_owner_keeps_does_not_keep_the_next_one_out(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        generation = await live_loyalty(database)
        customer = new_customer()
        await log.append(customer, purchase(customer, "order-1"))
        frozen = await connect(database, schema=generation.schema)
        await frozen.execute("SET idle_in_transaction_session_timeout = 0")
        await frozen.execute("BEGIN")
        await frozen.execute("UPDATE checkpoints SET owner_epoch = owner_epoch")

        async with reading(log, database, generation):
            await eventually(
                lambda: _is_posted(database, generation, POINTS_A_PURCHASE), REBALANCE_SECONDS
            )

        with pytest.raises(psycopg.OperationalError):
            await frozen.execute("COMMIT")
        await frozen.close()
