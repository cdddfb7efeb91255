"""Points of a customer who was merged into another one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from decimal import Decimal

import pytest_asyncio

from contracts.requests import AdjustRequested
from projections.loyalty import queries
from projections.loyalty.model import WorkingSet
from projections.loyalty.projection import Loyalty
from services.runtime.postgres import Session, connect
from tests.conformance.building import Build, KnownDefinitions, new_build
from tests.conformance.histories import Told
from tests.conformance.logs import START, WORKSPACE, Log, customer_number

ALEX, KIM = 1, 2
REVISION = 1
CLUB = {
    "name": "Club",
    "earning_rules": [
        {
            "id": "spending",
            "on": {"event": "order.completed"},
            "per": {"every": 10, "points": 1, "of": "metadata.amount"},
        }
    ],
}


class Club:
    """A log and the generation of loyalty that follows it."""

    def __init__(self, build: Build[WorkingSet], control: Session) -> None:
        self.log = Log()
        self.build = build
        self._control = control
        self._told = 0

    def tell(self, customer: int, told: Told) -> None:
        self._told += 1
        data = told.data(self._told)
        key = f"key-{self._told}" if told.request else None
        self.log.tell(customer_number(customer), data, revision=REVISION, idempotency_key=key)

    def order(self, customer: int, order: str, amount: int, *, hour: int = 0) -> None:
        """Tell of an order: a point for every ten."""
        told = Told(
            customer=customer,
            event="order.completed",
            external_id=order,
            occurred_at=START + timedelta(hours=hour),
            metadata={"amount": Decimal(amount)},
        )
        self.tell(customer, told)

    def adjust(self, customer: int, points: int) -> None:
        request = AdjustRequested(program="club", points=points, digest="one")
        self.tell(customer, Told(customer=customer, request=request))

    def merge(self) -> None:
        """Merge Alex into Kim."""
        names = customer_number(ALEX), customer_number(KIM)
        closed_at = self.log.merge(*names)
        self.log.merge(*names, closed_at=closed_at)

    async def points(self, customer: int = KIM) -> int:
        await self.build.run(self.log)
        schema = self.build.generation.schema
        found = await queries.member(
            self._control, schema, WORKSPACE, customer_number(customer), "club"
        )
        return found.points.available

    async def entries(self) -> list[tuple[str, int]]:
        """Kinds and points of the survivor's entries, newest first, page by page."""
        await self.build.run(self.log)
        found: list[tuple[str, int]] = []
        cursor = None
        while True:
            page = await queries.entries(
                self._control,
                self.build.generation.schema,
                WORKSPACE,
                customer_number(KIM),
                "club",
                limit=2,
                cursor=cursor,
            )
            found += [(each.kind, each.points) for each in page.entries]
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def remaining(self) -> int:
        rows = await self.build.session.execute(
            "SELECT coalesce(sum(remaining), 0)::bigint FROM lots"
        )
        row = await rows.fetchone()
        assert row is not None, "an aggregate answers one row"
        return row[0]


@pytest_asyncio.fixture
async def club(database: str) -> AsyncGenerator[Club]:
    control, known = await connect(database), KnownDefinitions()
    known.catalogue.apply(WORKSPACE, REVISION, "loyalty_program", "club", CLUB)
    async with new_build(Loyalty(), database, known) as build:
        yield Club(build, control)
        assert await build.projection.verify(build.session) == []
        assert await build.count("dead_letters") == 0
    await control.close()


async def test_points_and_entries_of_both_are_the_survivors(club: Club) -> None:
    club.order(ALEX, "A", 100)
    club.order(KIM, "B", 50)
    club.order(ALEX, "C", 30)
    club.merge()

    assert await club.points() == 18
    assert await club.points(ALEX) == 0
    assert await club.entries() == [("earned", 3), ("earned", 5), ("earned", 10)]


async def test_a_fact_told_of_both_earns_what_it_earned_the_survivor(club: Club) -> None:
    club.order(ALEX, "A", 100)
    club.order(KIM, "A", 50)
    club.merge()

    assert await club.points() == 5
    assert ("reversed", -10) in await club.entries()


async def test_what_one_owed_is_filled_from_what_the_other_has(club: Club) -> None:
    club.order(ALEX, "A", 100)
    club.adjust(KIM, -4)
    club.merge()

    assert await club.points() == 6
    assert await club.remaining() == 6


async def test_what_the_merged_one_owed_is_filled_too(club: Club) -> None:
    club.adjust(ALEX, -30)
    club.order(KIM, "A", 100)
    club.merge()

    assert await club.points() == -20
    assert await club.remaining() == 0


async def test_a_new_version_after_the_merge_takes_back_what_the_old_one_gave(club: Club) -> None:
    club.order(ALEX, "A", 100)
    club.merge()
    club.order(KIM, "A", 50, hour=1)
    club.order(KIM, "A", 20, hour=2)

    assert await club.points() == 2
    assert [points for _, points in await club.entries()] == [2, -5, 5, -10, 10]


async def test_a_request_of_both_is_the_survivors_and_one_decided_stays_decided(
    club: Club,
) -> None:
    club.adjust(ALEX, 7)
    club.merge()
    club.adjust(KIM, 3)

    assert await club.points() == 10
    assert await club.build.count("outcomes") == 2


async def test_two_merges_told_twice_add_up_once(club: Club) -> None:
    club.order(ALEX, "A", 100)
    club.order(KIM, "B", 50)
    club.merge()
    club.merge()

    assert await club.points() == 15
