"""One fact told for several customers ends at one of them, whoever is read first."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from contracts import codec
from contracts.events import CustomEvent, EventWithdrawn
from contracts.identifiers import event_id, fact_key
from contracts.partitioner import partition_of
from projections.customers import queries
from projections.customers.model import WorkingSet
from projections.customers.projection import Customers
from projections.kernel import checkpoint as checkpoints
from projections.kernel.batch import Applier
from projections.kernel.partition import prefer_key_lookups
from services.runtime.postgres import connect
from services.runtime.sealing import MasterKey
from tests.conformance.building import Build, KnownDefinitions, new_build, relayed_by
from tests.conformance.histories import Told, histories, log_of
from tests.conformance.logs import PARTITIONS, START, WORKSPACE, Log, customer_number

MASTER = MasterKey(b"m" * 32)
ALEX, KIM, SAM = (customer_number(number) for number in (1, 2, 3))
HOUR = timedelta(hours=1)


def order(hour: int | None, *, producer_id: str | None = None) -> CustomEvent:
    external_id = None if producer_id else "1"
    key = fact_key(WORKSPACE, "order.completed", external_id=external_id, producer_id=producer_id)
    assert key is not None
    return CustomEvent(
        event="order.completed",
        event_id=event_id(key),
        identified="producer" if producer_id else "external",
        external_id=external_id,
        occurred_at=None if hour is None else START + hour * HOUR,
    )


async def holders(build: Build[WorkingSet]) -> dict[str, list[str]]:
    """Name the customers at whom each fact stands."""
    cursor = await build.session.execute(
        "SELECT fact::text,"
        " array_agg('cust_' || replace(customer::text, '-', '') ORDER BY customer)"
        " FROM events e WHERE NOT withdrawn AND EXISTS"
        " (SELECT 1 FROM facts f WHERE f.workspace = e.workspace AND f.fact = e.fact)"
        " GROUP BY fact"
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def owners(build: Build[WorkingSet]) -> dict[str, list[str]]:
    cursor = await build.session.execute(
        "SELECT fact::text, ARRAY['cust_' || replace(customer::text, '-', '')] FROM fact_owners"
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


def told(*versions: tuple[str, CustomEvent], shown: datetime | None = None) -> Log:
    """A log of versions; on a test clock that stands still at ``shown``, if one is given."""
    log = Log()
    if shown is not None:
        log.show(shown)
    for customer, event in versions:
        log.tell(customer, event)
    return log


@pytest.mark.parametrize(("seed", "shown"), [(0, None), (1, None), (2, START + 24 * HOUR)])
@pytest.mark.parametrize(
    ("versions", "holder"),
    [
        ([(ALEX, order(1)), (KIM, order(0))], ALEX),
        ([(ALEX, order(0)), (KIM, order(1))], KIM),
        ([(ALEX, order(0)), (KIM, order(0))], KIM),
        ([(KIM, order(0)), (ALEX, order(0))], ALEX),
        ([(ALEX, order(0, producer_id="p")), (KIM, order(5, producer_id="p"))], ALEX),
        ([(KIM, order(0, producer_id="p")), (ALEX, order(5, producer_id="p"))], KIM),
        ([(ALEX, order(0)), (KIM, order(2)), (SAM, order(1))], KIM),
        ([(ALEX, order(0)), (KIM, order(1)), (ALEX, order(2))], ALEX),
        ([(ALEX, order(2)), (KIM, order(3)), (SAM, order(3)), (ALEX, order(1))], SAM),
    ],
)
async def test_the_newer_version_holds_the_fact(
    database: str,
    versions: list[tuple[str, CustomEvent]],
    holder: str,
    seed: int,
    shown: datetime | None,
) -> None:
    log = told(*versions, shown=shown)
    async with new_build(Customers(MASTER), database, live=True) as build:
        await build.live(log, random.Random(seed))

        assert list((await holders(build)).values()) == [[holder]]
        session, schema = build.session, build.generation.schema
        found = await queries.find_event(session, schema, WORKSPACE, versions[0][1].event_id)
        assert found is not None and found.customer.id == holder


async def test_the_loser_is_told_once_with_the_offset_it_lost_at(database: str) -> None:
    log = told((ALEX, order(0)), (KIM, order(1)))
    lost_at = next(
        r for records in log.partitions.values() for r in records if r.key == ALEX.encode()
    )
    async with new_build(Customers(MASTER), database, live=True) as build:
        await build.live(log, random.Random(1))

        withdrawals = [
            codec.decode_record(record.value)
            for records in log.partitions.values()
            for record in records
            if b"customer.event_withdrawn" in record.value
        ]
        (record,) = withdrawals
        assert record.subject == ALEX
        assert codec.decoder(EventWithdrawn).decode(record.data) == EventWithdrawn(
            event_id=order(0).event_id,
            last_partition=lost_at.partition,
            last_offset=lost_at.offset,
            held_by=KIM,
        )
        session, schema = build.session, build.generation.schema
        page = await queries.activity(session, schema, WORKSPACE, ALEX, limit=10)
        said = codec.decode_object(page.data[0].data)
        assert (said["outcome"], said["held_by"]) == ("withdrawn", KIM)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(history=histories, seed=st.integers(0, 2**32))
def test_every_fact_ends_at_its_owner_and_nowhere_else(
    database: str, history: list[Told], seed: int
) -> None:
    async def run() -> None:
        note(f"seed {seed}")
        log = log_of(history)
        async with new_build(Customers(MASTER), database, live=True) as build:
            await build.live(log, random.Random(seed))

            assert await holders(build) == await owners(build)

    asyncio.run(run())


async def test_partitions_that_settle_the_same_facts_at_once_do_not_wait_for_each_other_for_ever(
    database: str,
) -> None:
    draw = random.Random(3)
    facts = 300
    log = log_of(
        [
            Told(
                customer=draw.randint(1, 9),
                event="order.completed",
                external_id=str(draw.randint(1, facts)),
                occurred_at=START + draw.randint(0, 5) * HOUR,
            )
            for _ in range(3000)
        ]
    )
    async with new_build(Customers(MASTER), database, live=True) as build:
        while waiting := build.pending(log):
            done = await asyncio.gather(
                *(_follow(build, database, p, log) for p in sorted(waiting))
            )
            for relayed in (each for commits in done for each in commits):
                log.append(relayed[1].encode(), relayed[2], partition=relayed[0])
            for partition in range(PARTITIONS):
                build.held[partition] = await checkpoints.read(build.session, partition)

        assert await holders(build) == await owners(build)
        assert len(await owners(build)) <= facts
        assert await build.projection.verify(build.session) == []


async def _follow(
    build: Build[WorkingSet], database: str, partition: int, log: Log
) -> list[tuple[int, str, bytes]]:
    """Apply what a partition has, in small batches, on a session of its own."""
    session = await connect(database, schema=build.generation.schema)
    await prefer_key_lookups(session)
    held = await checkpoints.claim(session, partition)
    applier = Applier(
        build.projection,
        session,
        KnownDefinitions(),
        live=True,
        partition=partition,
        partitions=PARTITIONS,
    )
    put_out: list[tuple[int, str, bytes]] = []
    records = log.partitions[partition][held.next_offset :]
    for start in range(0, len(records), 100):
        commits = await applier.apply(held, records[start : start + 100])
        held = commits[-1].checkpoint
        put_out += [(r.target, r.key.decode(), r.value) for r in relayed_by(commits)]
    await session.close()
    return put_out


def test_the_examples_span_partitions() -> None:
    assert len({partition_of(each.encode(), PARTITIONS) for each in (ALEX, KIM, SAM)}) > 1
