"""Limits of earning rules against a naive count, over histories of every kind.

The count knows no periods, ranges or batches: it looks through all that stands and asks the wall
clock of the zone what day each was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from contracts import codec
from contracts.calendars import Per
from contracts.events import CustomEvent
from contracts.identifiers import FactKey, event_id, fact_key
from contracts.versions import Fact, Stored, resolve
from projections.loyalty.model import WorkingSet
from projections.loyalty.projection import Loyalty
from tests.conformance.building import Build, KnownDefinitions, new_build
from tests.conformance.logs import WORKSPACE, Log, customer_number

EXAMPLES = 40
EVENT = "order.completed"
ZONES = ("UTC", "Europe/Warsaw", "America/Havana", "Asia/Kathmandu")
CHANGES = (
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # Warsaw sets its clocks back
    datetime(2026, 11, 1, 5, tzinfo=UTC),  # Havana does, and shows midnight twice
)
FORGETTING = 0.4  # how often a partition loses what it holds in memory between two batches
KINDS_OF_CHANGE = 3  # definitions of a world, a revision each


class Limited(msgspec.Struct, frozen=True):
    """A limit of a rule."""

    times: int | None
    points: int | None
    per: Per


class Rule(msgspec.Struct, frozen=True):
    """A rule of a program: so many points, or so many for each ten."""

    program: str
    id: str
    points: int | None
    limits: tuple[Limited, ...]


class World(msgspec.Struct, frozen=True):
    """The definitions of one revision."""

    zone: str
    rules: tuple[Rule, ...]
    negative_balance: str


class Told(msgspec.Struct, frozen=True):
    """One version of an order, and whether the next world begins with it."""

    customer: int
    order: str | None
    occurred_at: datetime
    amount: int
    deleted_at: datetime | UnsetType | None
    historical: bool
    changes_world: bool


class Award(msgspec.Struct, frozen=True):
    """What a rule gave, and takes part in counts while it stands."""

    customer: str
    program: str
    rule: str
    at: datetime
    points: int


pers: st.SearchStrategy[Per] = st.sampled_from(["day", "week", "month", "year", "ever"])
limits = st.lists(
    st.builds(Limited, st.integers(1, 3), st.none(), pers)
    | st.builds(Limited, st.none(), st.integers(1, 25), pers),
    max_size=3,
).map(tuple)
rules = st.tuples(
    st.builds(Rule, st.just("club"), st.just("each"), st.just(7), limits),
    st.builds(Rule, st.just("club"), st.just("spent"), st.none(), limits),
    st.builds(Rule, st.just("other"), st.just("each"), st.just(4), limits),
)
worlds = st.lists(
    st.builds(
        World,
        st.sampled_from(ZONES),
        st.tuples(rules, st.sets(st.integers(0, 2), min_size=1)).map(
            lambda drawn: tuple(rule for n, rule in enumerate(drawn[0]) if n in drawn[1])
        ),
        st.sampled_from(["allow", "refuse"]),
    ),
    min_size=1,
    max_size=4,
)


def beside(change: datetime, half_hours: int, microseconds: int) -> datetime:
    return change + timedelta(minutes=30 * half_hours, microseconds=microseconds)


instants = st.builds(
    beside, st.sampled_from(CHANGES), st.integers(-60, 60), st.sampled_from([0, 0, -1, 999_999])
)
histories = st.lists(
    st.builds(
        Told,
        customer=st.integers(1, 2),
        order=st.sampled_from([None, "A", "B", "C"]),
        occurred_at=instants,
        amount=st.sampled_from([10, 35, 90, 200, -20, 5]),
        deleted_at=st.sampled_from([UNSET, UNSET, UNSET, None, CHANGES[0]]),
        historical=st.sampled_from([False, False, False, True]),
        changes_world=st.sampled_from([False, False, False, True]),
    ),
    min_size=10,
    max_size=40,
)


def revision_of(world: int) -> int:
    return (world + 1) * KINDS_OF_CHANGE


def define(known: KnownDefinitions, number: int, world: World) -> None:
    """Make a world's definitions those in force at its revision."""
    settings_of_it = {"timezone": world.zone}
    first = number * KINDS_OF_CHANGE + 1
    known.catalogue.apply(WORKSPACE, first, "workspace", WORKSPACE, settings_of_it)
    for revision, program in enumerate(("club", "other"), start=first + 1):
        spec = {
            "negative_balance": world.negative_balance,
            "earning_rules": [spell(each) for each in world.rules if each.program == program],
        }
        known.catalogue.apply(WORKSPACE, revision, "loyalty_program", program, spec)


def definitions_of(known: Sequence[World]) -> KnownDefinitions:
    definitions = KnownDefinitions()
    for number, world in enumerate(known):
        define(definitions, number, world)
    return definitions


def spell(rule: Rule) -> dict[str, object]:
    gives: dict[str, object] = {"points": rule.points}
    if rule.points is None:
        gives = {"per": {"every": 10, "points": 1, "of": "metadata.amount"}}
    return {
        "id": rule.id,
        "on": {"event": EVENT},
        "limits": [
            {"times": each.times, "points": each.points, "per": each.per} for each in rule.limits
        ],
        **gives,
    }


class Naive:
    """What stands, and the points of every entry that is due, in order, by customer."""

    def __init__(self, known: Sequence[World]) -> None:
        self.posted: list[tuple[str, str, str, int]] = []
        self._worlds = known
        self._facts: dict[tuple[str, FactKey], Stored] = {}
        self._standing: dict[tuple[str, FactKey], list[Award]] = {}

    def tell(self, customer: str, event: CustomEvent, key: FactKey, at: datetime, now: int) -> None:
        """Count one version of an order, told in a world."""
        change = resolve(
            self._facts.get((customer, key)),
            event,
            key=key,
            recorded_at=at,
            at=at,
            offset=len(self.posted),
            revision=revision_of(now),
        )
        assert change.stored is not None, "a told order is stored"
        self._facts[customer, key] = change.stored
        if change.before is not None:
            for award in self._standing.pop((customer, key), []):
                self._post(award, -award.points)
        if change.after is not None:
            self._standing[customer, key] = list(self._earn(customer, change.after))

    def _earn(self, customer: str, fact: Fact) -> Iterator[Award]:
        content, world = fact.content, self._worlds[fact.revision // KINDS_OF_CHANGE - 1]
        assert content is not None, "a fact that counts has its content"
        if content.historical:
            return
        amount = codec.decode_object(content.metadata)["amount"]
        assert isinstance(amount, int), "amounts are whole here"
        for rule in world.rules:
            points = int(amount / 10) if rule.points is None else rule.points
            award = Award(customer, rule.program, rule.id, fact.occurred_at, points)
            if points > 0:
                award = msgspec.structs.replace(award, points=self._left(award, rule, world))
            if award.points:
                self._post(award, award.points)
            if award.points > 0:
                yield award

    def _left(self, award: Award, rule: Rule, world: World) -> int:
        left = award.points
        for limit in rule.limits:
            used = [
                each.points
                for awards in self._standing.values()
                for each in awards
                if (each.customer, each.program, each.rule)
                == (award.customer, award.program, award.rule)
                and shown(each.at, limit.per, world.zone) == shown(award.at, limit.per, world.zone)
            ]
            if limit.times is not None and len(used) >= limit.times:
                return 0
            if limit.points is not None:
                left = min(left, limit.points - sum(used))
        return max(0, left)

    def _post(self, award: Award, points: int) -> None:
        self.posted.append((award.customer, award.program, award.rule, points))


def shown(at: datetime, per: Per, zone: str) -> tuple[int, ...]:
    """What the wall clock of a zone shows of an instant's period."""
    day = at.astimezone(ZoneInfo(zone)).date()
    match per:
        case "day":
            return (day.year, day.month, day.day)
        case "week":
            return day.isocalendar()[:2]
        case "month":
            return (day.year, day.month)
        case "year":
            return (day.year,)
        case "ever":
            return ()


def tell_all(history: Sequence[Told], known: Sequence[World]) -> tuple[Log, Naive]:
    """Append a history, and count it naively."""
    log, naive, now = Log(), Naive(known), 0
    for number, told in enumerate(history):
        now = min(now + told.changes_world, len(known) - 1)
        named = fact_key(WORKSPACE, EVENT, external_id=told.order, producer_id=None)
        key = named or FactKey(number.to_bytes(16))
        event = CustomEvent(
            event=EVENT,
            event_id=event_id(key),
            identified=None if told.order is None else "external",
            external_id=told.order,
            occurred_at=told.occurred_at,
            deleted_at=told.deleted_at,
            metadata=codec.raw({"amount": told.amount}),
            historical=told.historical,
        )
        customer = customer_number(told.customer)
        log.tell(customer, event, revision=revision_of(now))
        naive.tell(customer, event, key, log.now, now)
    return log, naive


async def run_forgetful(build: Build[WorkingSet], log: Log, order: random.Random) -> None:
    """Apply a log in batches of any size; what is in memory between them is lost now and then."""
    while waiting := build.pending(log):
        partition = order.choice(sorted(waiting))
        if order.random() < FORGETTING:
            build.appliers[partition].forget()
        records = waiting[partition]
        await build.apply(partition, records[: order.randint(1, len(records))])


async def posted(build: Build[WorkingSet], customer: str) -> list[tuple[str, str, str, int]]:
    """What was posted to a customer, without what reversals of refunds gave back."""
    cursor = await build.session.execute(
        "SELECT program, rule, points - shortfall FROM entries WHERE customer = %s::uuid"
        " AND NOT (reverses IS NOT NULL AND points - shortfall >= 0)"
        " ORDER BY record_offset, place",
        (customer.removeprefix("cust_"),),
    )
    return [(customer, *row) for row in await cursor.fetchall()]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(history=histories, known=worlds, seed=st.integers(0, 2**32))
def test_limits_leave_what_a_naive_count_leaves(
    database: str, history: list[Told], known: list[World], seed: int
) -> None:
    async def run() -> None:
        log, naive = tell_all(history, known)
        async with new_build(Loyalty(), database, definitions_of(known)) as build:
            await run_forgetful(build, log, random.Random(seed))

            for customer in map(customer_number, (1, 2)):
                expected = [each for each in naive.posted if each[0] == customer]
                assert await posted(build, customer) == expected
            assert await build.projection.verify(build.session) == []

    asyncio.run(run())


def order(order: str, amount: int, *, at: datetime = CHANGES[0], deleted: bool = False) -> Told:
    return Told(
        customer=1,
        order=order,
        occurred_at=at,
        amount=amount,
        deleted_at=CHANGES[0] if deleted else UNSET,
        historical=False,
        changes_world=False,
    )


@pytest.mark.parametrize(
    ("limit", "history", "expected"),
    [
        pytest.param(
            Limited(1, None, "ever"),
            [order("A", 30), order("B", -200), order("A", 30, deleted=True), order("C", 40)],
            [3, -20, -3, 4],
            id="a reversal that was forgiven gives its room back",
        ),
        pytest.param(
            Limited(1, None, "day"),
            [
                order("A", 30, at=CHANGES[0] + timedelta(days=1)),
                order("B", 40, at=CHANGES[0] - timedelta(microseconds=1)),
                order("C", 50, at=CHANGES[0]),
                order("D", 60, at=CHANGES[0] + timedelta(days=1, microseconds=-1)),
            ],
            [3, 4, 5],
            id="a day begins and ends at its very instants",
        ),
    ],
)
async def test_what_is_read_back_from_the_ledger_is_what_was_used(
    database: str, limit: Limited, history: list[Told], expected: list[int]
) -> None:
    known = [World("UTC", (Rule("club", "spent", None, (limit,)),), "refuse")]
    log, _ = tell_all(history, known)

    async with new_build(Loyalty(), database, definitions_of(known)) as build:
        for records in log.partitions.values():
            for record in records:
                build.appliers[record.partition].forget()
                await build.apply(record.partition, [record])

        assert [each[3] for each in await posted(build, customer_number(1))] == expected
