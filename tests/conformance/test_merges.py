"""Merges on the real kernel: nothing is lost or counted twice, in whatever order partitions go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts.events import CustomEvent
from contracts.identifiers import event_id, fact_key
from projections.customers.projection import Customers
from projections.kernel.errors import AwaitedError, FencedError
from projections.kernel.projection import Projection
from projections.loyalty.projection import Loyalty
from services.runtime.kafka.consumer import Incoming
from services.runtime.sealing import MasterKey
from tests.conformance.building import Build, new_build, relayed_by
from tests.conformance.gathering import Gathering
from tests.conformance.histories import CUSTOMERS, Told, histories
from tests.conformance.logs import WORKSPACE, Log, customer_number
from tests.conformance.test_projections import REVISION, definitions
from tests.conformance.test_timers import pass_time

FAR = 1, 2
"""Two customers of different partitions."""


AFTER = timedelta(milliseconds=15)
"""Long enough for merges to find timers waiting."""


def gathering() -> Gathering:
    return Gathering(after=AFTER)


SUBJECTS: dict[str, Callable[[], Projection[Any]]] = {
    "customers": lambda: Customers(MasterKey(b"m" * 32)),
    "gathering": gathering,
    "loyalty": Loyalty,
}


def purchase(order: str, *, event: str = "order.completed") -> CustomEvent:
    key = fact_key(WORKSPACE, event, external_id=order, producer_id=None)
    assert key is not None, "an external id names a fact"
    return CustomEvent(
        event=event, event_id=event_id(key), identified="external", external_id=order
    )


PASSES_ON = {"loyalty": "customers"}
"""Which projection passes late records on, where that is not the one itself."""


class Merge(msgspec.Struct, frozen=True):
    """A wish to merge: customers by number, and after how many records each part is appended."""

    merged: int
    survivor: int
    after: int
    until: int
    times: int


merges = st.lists(
    st.builds(
        Merge,
        merged=st.integers(1, CUSTOMERS),
        survivor=st.integers(1, CUSTOMERS),
        after=st.integers(0, 30),
        until=st.integers(0, 12),
        times=st.integers(1, 2),
    ),
    max_size=4,
)


class Registry:
    """Who was merged into whom, as the api knows it."""

    def __init__(self) -> None:
        self.into: dict[int, int] = {}

    def root(self, customer: int) -> int:
        while customer in self.into:
            customer = self.into[customer]
        return customer

    def allows(self, merge: Merge) -> bool:
        is_open = merge.merged not in self.into and merge.survivor not in self.into
        return is_open and merge.merged != merge.survivor


def tell(log: Log, history: Sequence[Told], wishes: Sequence[Merge]) -> Registry:
    """Append a history with merges in between; producers go on telling of who was merged."""
    registry = Registry()
    owed: list[tuple[int, Merge, Incoming]] = []
    for number in range(max(len(history), 30) + 15):
        for wish in wishes:
            if wish.after == number and registry.allows(wish):
                merged, survivor = map(customer_number, (wish.merged, wish.survivor))
                registry.into[wish.merged] = wish.survivor
                closed = [log.merge(merged, survivor) for _ in range(wish.times)]
                owed += [(number + wish.until, wish, each) for each in closed]
        for due, wish, closed_at in owed:
            if due == number:
                merged, survivor = map(customer_number, (wish.merged, wish.survivor))
                log.merge(merged, survivor, closed_at=closed_at)
        if number < len(history):
            told = history[number]
            customer = customer_number(told.customer)
            log.tell(
                customer,
                told.data(number + 1),
                revision=REVISION,
                after_ms=told.after_ms,
                idempotency_key=told.idempotency_key,
            )
    return registry


async def live_log(
    subject: Projection[Any], database: str, log: Log, draw: random.Random
) -> dict[str, list[str]]:
    """Apply a log as the live generation, which passes late records on; answer its rows."""
    async with new_build(subject, database, definitions(), live=True) as live:
        await live.live(log, draw)
        pass_time(log, timedelta(hours=9))
        await live.live(log, draw)
        return await live.rows()


def facts_told(history: Sequence[Told], customer: int) -> set[str]:
    """Hexadecimal keys of the facts with a name that producers told of a customer."""
    told = [each.data(0) for each in history if each.customer == customer]
    return {
        each.event_id.removeprefix("event_")
        for each in told
        if isinstance(each, CustomEvent) and each.identified is not None
    }


async def facts_at(build: Build[Any], customer: int) -> set[str]:
    query = "SELECT fact::text FROM facts WHERE customer = %s::uuid"
    digits = customer_number(customer).removeprefix("cust_")
    return {row[0] for row in await (await build.session.execute(query, (digits,))).fetchall()}


async def one(build: Build[Any], query: str) -> object:
    row = await (await build.session.execute(query.encode())).fetchone()
    return None if row is None else row[0]


over_histories = settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a smaller one takes minutes to find
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


@pytest.mark.parametrize("name", SUBJECTS)
@over_histories
@given(history=histories, wishes=merges, seed=st.integers(0, 2**32))
def test_any_order_of_partitions_and_any_batches_give_the_rows_that_live_has(
    name: str, database: str, history: list[Told], wishes: list[Merge], seed: int
) -> None:
    async def run() -> None:
        log = Log()
        registry = tell(log, history, wishes)
        subject, live = SUBJECTS[name], SUBJECTS[PASSES_ON.get(name, name)]
        expected = await live_log(live(), database, log, random.Random(seed))
        if subject is not live:
            expected = await live_log(subject(), database, log, random.Random(seed + 2))

        for order, batch in ((random.Random(seed + 1), 0), (None, 1), (None, 0)):
            async with new_build(subject(), database, definitions()) as build:
                await build.run(log, order=order, batch=batch)
                assert await build.rows() == expected

        async with new_build(subject(), database, definitions()) as build:
            await build.run(log)
            assert await build.count("dead_letters") == 0
            assert await build.projection.verify(build.session) == []
            assert await one(build, "SELECT count(*) FROM closed WHERE taken_by IS NULL") == 0
            assert await one(build, "SELECT count(*) FROM timers WHERE partition >= 0") == 0
            for customer in range(1, CUSTOMERS + 1):
                held = await facts_at(build, registry.root(customer))
                assert facts_told(history, customer) <= {each.replace("-", "") for each in held}
            for query in LAWS.get(name, ()):
                assert await one(build, query) == 0

    asyncio.run(run())


LAWS = {
    "gathering": [
        # of the facts of open customers that stand, those without both of their reminders
        """
        SELECT count(*) FROM facts f LEFT JOIN closed c USING (workspace, customer)
        WHERE c.customer IS NULL AND f.deleted_at IS NULL AND (SELECT count(*)
            FROM reminders r WHERE r.customer = f.customer AND r.fact = f.fact) <> 2"""
    ],
    "customers": [
        # facts that do not stand at exactly one open customer, their owner
        """
        SELECT count(*) FROM fact_owners o WHERE 1 <> (
            SELECT count(*) FROM facts f LEFT JOIN closed c USING (workspace, customer)
            WHERE f.fact = o.fact AND c.customer IS NULL AND NOT f.withdrawn)
            OR o.customer IN (SELECT customer FROM closed)
            OR NOT EXISTS (SELECT FROM facts f
                WHERE f.fact = o.fact AND f.customer = o.customer AND NOT f.withdrawn)"""
    ],
    "loyalty": [
        # what is left at closed customers
        """
        SELECT count(*) FROM closed c WHERE EXISTS (SELECT FROM members WHERE customer = c.customer)
            OR EXISTS (SELECT FROM entries WHERE customer = c.customer)
            OR EXISTS (SELECT FROM lots WHERE customer = c.customer)""",
        # what was earned by a named fact and not reversed, and the fact does not stand there
        """
        SELECT count(*) FROM entries e WHERE e.kind = 'earned'
            AND NOT EXISTS (SELECT FROM entries r
                WHERE r.customer = e.customer AND r.reverses = e.entry)
            AND EXISTS (SELECT FROM facts f WHERE f.fact = e.fact)
            AND NOT EXISTS (SELECT FROM facts f WHERE f.customer = e.customer AND f.fact = e.fact
                AND NOT f.withdrawn AND f.deleted_at IS NULL)""",
    ],
}
"""Counts that are zero, by projection, once every partition is at its end."""


def merged_log() -> Log:
    """Purchases of two customers, who are then merged, and one told late of the merged one."""
    log = Log()
    one_of, other = map(customer_number, FAR)
    for order in ("A", "B"):
        log.tell(one_of, purchase(order))
    log.tell(other, purchase("B"))
    closed_at = log.merge(one_of, other)
    log.tell(one_of, purchase("C"))
    log.merge(one_of, other, closed_at=closed_at)
    log.tell(other, purchase("D"))
    return log


def partitions_of(log: Log) -> tuple[int, int]:
    """The partitions of the merged customer and of the survivor."""
    keys = {records[0].key: number for number, records in log.partitions.items() if records}
    merged, survivor = (keys[customer_number(each).encode()] for each in FAR)
    assert merged != survivor
    return merged, survivor


async def test_the_survivor_waits_until_the_other_partition_has_closed_the_merged_one(
    database: str,
) -> None:
    log = merged_log()
    giver, taker = partitions_of(log)
    async with new_build(gathering(), database) as build:
        await build.apply(taker, log.partitions[taker])
        assert build.held[taker].next_offset == 1
        with pytest.raises(AwaitedError):
            await build.apply(taker, log.partitions[taker][1:])

        await build.apply(giver, log.partitions[giver])
        await build.apply(taker, log.partitions[taker][1:])

        assert len(await facts_at(build, FAR[1])) == 3
        assert len(await facts_at(build, FAR[0])) == 1  # told of both: the survivor's stands


async def test_what_is_told_late_of_a_closed_customer_is_appended_for_the_survivor(
    database: str,
) -> None:
    log = merged_log()
    giver, taker = partitions_of(log)
    async with new_build(gathering(), database, live=True) as live:
        commits = await live.apply(giver, log.partitions[giver])
        late = [each for each in relayed_by(commits) if each.topic == "customer.events"]

        assert [(each.target, each.key) for each in late] == [
            (taker, customer_number(FAR[1]).encode())
        ]
        await live.live(log, random.Random(1))

        assert len(await facts_at(live, FAR[1])) == 3


async def test_a_merge_is_applied_in_a_transaction_of_its_own(database: str) -> None:
    log = merged_log()
    giver, taker = partitions_of(log)
    async with new_build(gathering(), database) as build:
        closing = await build.apply(giver, log.partitions[giver])
        taking = await build.apply(taker, log.partitions[taker])

        assert [each.checkpoint.next_offset for each in closing] == [2, 3, 4]
        assert [each.checkpoint.next_offset for each in taking] == [1, 2, 3]


async def test_an_owner_that_was_taken_over_from_takes_nothing_over(database: str) -> None:
    log = merged_log()
    giver, taker = partitions_of(log)
    async with new_build(gathering(), database) as build:
        await build.apply(giver, log.partitions[giver])
        await build.apply(taker, log.partitions[taker][:1])
        zombie, held = build.appliers[taker], build.held[taker]
        expected = await build.rows()

        await build.claim(taker)
        with pytest.raises(FencedError):
            await zombie.apply(held, log.partitions[taker][1:])
        assert await build.rows() == expected

        await build.apply(taker, log.partitions[taker][1:])
        assert await one(build, "SELECT count(*) FROM closed WHERE taken_by IS NOT NULL") == 1


async def test_two_customers_closed_for_each_other_hold_nothing_up(database: str) -> None:
    log = Log()
    one_of, other = map(customer_number, FAR)
    first, second = log.merge(one_of, other), log.merge(other, one_of)
    log.merge(one_of, other, closed_at=first)
    log.merge(other, one_of, closed_at=second)
    log.tell(one_of, purchase("A"))
    async with new_build(gathering(), database, live=True) as live:
        await live.live(log, random.Random(1))

        assert sum(map(len, log.partitions.values())) < 5 + 3 * 8
        assert await live.count("dead_letters") == 3


@pytest.mark.parametrize("position", ["", "customer.events/99/1", "definitions/0/1"])
async def test_a_merge_that_was_closed_nowhere_is_a_dead_letter(
    database: str, position: str
) -> None:
    log = merged_log()
    giver, taker = partitions_of(log)
    record = log.partitions[taker][1]
    told = record.value.replace(f"customer.events/{giver}/2".encode(), position.encode())
    log.partitions[taker][1] = msgspec.structs.replace(record, value=told)
    async with new_build(gathering(), database) as build:
        await build.run(log)

        assert await build.count("dead_letters") == 1
        assert await build.count("closed") == 1
        assert len(await facts_at(build, FAR[1])) == 2


async def test_the_partitions_of_a_merge_may_be_the_same(database: str) -> None:
    log = Log()
    names = [customer_number(number) for number in range(1, 12)]
    merged, survivor = next(
        (a, b)
        for a in names
        for b in names
        if a < b and (log.tell(a, purchase(a)).partition == log.tell(b, purchase(b)).partition)
    )
    closed_at = log.merge(merged, survivor)
    log.merge(merged, survivor, closed_at=closed_at)
    async with new_build(gathering(), database) as build:
        await build.run(log)

        assert await one(build, "SELECT count(*) FROM closed WHERE taken_by IS NOT NULL") == 1
        assert await one(build, "SELECT count(*) FROM facts WHERE partition IS NOT NULL") == 0
