"""Customers, their timelines and events, read back as the public surface shows them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from decimal import Decimal

import pytest
import pytest_asyncio
from msgspec import Raw

from contracts import codec
from contracts.errors import RefusedError
from contracts.events import (
    Address,
    CustomEvent,
    EventData,
    LoyaltyMention,
    Profile,
    ProfileChanged,
    ReferralMention,
    SealedProfile,
)
from contracts.identifiers import CustomerId, FactKey, derive, event_id, fact_key
from projections.customers import queries
from projections.customers.model import WorkingSet
from projections.customers.projection import Customers
from services.runtime.postgres import Session, connect
from services.runtime.sealing import MasterKey, new_key, seal
from tests.conformance.building import Build, new_build
from tests.conformance.logs import START, WORKSPACE, Log, customer_number

MASTER = MasterKey(b"m" * 32)
ALEX, KIM = customer_number(1), customer_number(2)


class Shop:
    """A log and the generation that follows it, with the keys of its customers."""

    def __init__(self, build: Build[WorkingSet], control: Session) -> None:
        self.log = Log()
        self.build = build
        self.keys: dict[str, bytes] = {}
        self._control = control

    @property
    def read(self) -> tuple[Session, str, str]:
        """The leading arguments of every query."""
        return self._control, self.build.generation.schema, WORKSPACE

    async def tell(self, customer: str, told: EventData, *, after_ms: int = 1000) -> None:
        self.log.tell(customer, told, after_ms=after_ms)
        await self.build.run(self.log)

    async def sealed(self, customer: str, plain: SealedProfile | dict[str, codec.Json]) -> str:
        if customer not in self.keys:
            self.keys[customer] = new_key()
            await self._control.execute(
                "INSERT INTO customer_keys VALUES (%s, %s, %s)",
                (WORKSPACE, customer.removeprefix("cust_"), MASTER.wrap(self.keys[customer])),
            )
        return seal(self.keys[customer], CustomerId(customer), codec.encode(plain))

    async def knows(self, customer: str, plain: SealedProfile, **metadata: codec.Json) -> None:
        profile = Profile(sealed=await self.sealed(customer, plain), metadata=codec.raw(metadata))
        await self.tell(customer, ProfileChanged(profile=profile))


@pytest_asyncio.fixture
async def shop(database: str) -> AsyncGenerator[Shop]:
    control = await connect(database)
    async with new_build(Customers(MASTER), database) as build:
        yield Shop(build, control)
        assert await build.projection.verify(build.session) == []
    await control.close()


def order(number: str = "1", *, hour: int | None = 0, **metadata: codec.Json) -> CustomEvent:
    key = fact_key(WORKSPACE, "order.completed", external_id=number, producer_id=None)
    assert key is not None
    return CustomEvent(
        event="order.completed",
        event_id=event_id(key),
        identified="external",
        external_id=number,
        occurred_at=None if hour is None else START + timedelta(hours=hour),
        metadata=codec.raw(metadata),
    )


def review(number: int, *, hour: int = 0) -> CustomEvent:
    return CustomEvent(
        event="left_review",
        event_id=event_id(FactKey(derive("review", str(number)))),
        occurred_at=START + timedelta(hours=hour),
    )


async def test_a_profile_is_found_by_id_source_id_and_email(shop: Shop) -> None:
    plain = SealedProfile(
        source_id="alex@domain.io",
        email="Alex@Domain.io",
        name="Alex \\ Doe\t",
        address=Address(city="Łódź"),
        metadata=codec.raw({"passport": "X1"}),
    )
    await shop.knows(ALEX, plain, VIP=True)

    by_id = await queries.find_customer(*shop.read, ALEX)

    assert by_id is not None
    assert (by_id.name, by_id.address) == ("Alex \\ Doe\t", Address(city="Łódź"))
    assert codec.decode_json(by_id.metadata) == {"passport": "X1", "VIP": True}
    assert by_id.created_at == shop.log.now == by_id.updated_at
    assert await queries.find_customer(*shop.read, "alex@domain.io") == by_id
    assert (await queries.find_customers_by_email(*shop.read, " ALEX@domain.io ")).data == [by_id]
    assert await queries.find_customer(*shop.read, KIM) is None
    assert (await queries.find_customers_by_email(*shop.read, "kim@domain.io")).data == []


async def test_customers_who_share_an_email_are_paged(shop: Shop) -> None:
    family = [customer_number(number) for number in range(1, 6)]
    for customer in family:
        await shop.knows(customer, SealedProfile(email="family@domain.io"))

    first = await queries.find_customers_by_email(*shop.read, "family@domain.io", limit=3)
    rest = await queries.find_customers_by_email(
        *shop.read, "family@domain.io", limit=2, cursor=first.next_cursor
    )

    assert [each.id for each in first.data + rest.data] == family
    assert rest.next_cursor is None


async def test_nobody_is_found_in_another_workspace(shop: Shop) -> None:
    await shop.knows(ALEX, SealedProfile(source_id="alex", email="alex@domain.io"))
    await shop.tell(ALEX, order())
    session, schema, _ = shop.read

    assert await queries.find_customer(session, schema, "other", ALEX) is None
    assert await queries.find_event(session, schema, "other", order().event_id) is None
    page = await queries.workspace_activity(session, schema, "other", limit=10)
    assert page.data == []


async def test_what_was_sealed_is_absent_once_the_key_is_gone(shop: Shop) -> None:
    sealed = await shop.sealed(KIM, SealedProfile(name="Kim"))
    await shop.read[0].execute("DELETE FROM customer_keys")
    profile = Profile(sealed=sealed, metadata=codec.raw({"VIP": True}))
    await shop.tell(KIM, ProfileChanged(profile=profile))

    found = await queries.find_customer(*shop.read, KIM)

    assert found is not None and found.name is None
    assert codec.decode_json(found.metadata) == {}


async def test_a_blob_that_does_not_open_is_a_dead_letter(shop: Shop) -> None:
    foreign = await shop.sealed(ALEX, SealedProfile(name="Alex"))
    await shop.sealed(KIM, SealedProfile(name="Kim"))
    await shop.tell(KIM, ProfileChanged(profile=Profile(sealed=foreign)))

    assert await shop.build.count("dead_letters") == 1
    assert await queries.find_customer(*shop.read, KIM) is None


async def test_the_timeline_tells_what_changed(shop: Shop) -> None:
    await shop.knows(ALEX, SealedProfile(name="Alex"))
    await shop.knows(ALEX, SealedProfile(name="Alexandra"), VIP=True)
    await shop.tell(ALEX, order(amount=10))
    await shop.tell(ALEX, order(amount=20, note="x"))
    await shop.tell(ALEX, order(amount=20, note="x"))

    page = await queries.activity(*shop.read, ALEX, limit=10)

    assert [entry.kind for entry in page.data] == [
        "custom_event.order.completed",
        "custom_event.order.completed",
        "customer.updated",
        "customer.created",
    ]
    newest, first, updated, _ = (codec.decode_object(entry.data) for entry in page.data)
    assert newest["changes"] == {
        "metadata.amount": {"old": 10, "new": 20},
        "metadata.note": {"old": None, "new": "x"},
    }
    assert newest["outcome"] == "replaced" and newest["version"] == 2
    assert first["outcome"] == "applied" and "changes" not in first
    assert updated["changes"] == {
        "name": {"old": "Alex", "new": "Alexandra"},
        "metadata.VIP": {"old": None, "new": True},
    }
    assert page.next_cursor is None


async def test_the_timeline_pages_without_gaps_while_it_grows(shop: Shop) -> None:
    for number in range(7):
        await shop.tell(ALEX, review(number))
    whole = await queries.activity(*shop.read, ALEX, limit=100)

    seen: list[str] = []
    cursor = None
    for grown in range(100, 105):
        page = await queries.activity(*shop.read, ALEX, limit=2, cursor=cursor)
        seen += [entry.id for entry in page.data]
        cursor = page.next_cursor
        await shop.tell(ALEX, review(grown))
        if cursor is None:
            break

    assert seen == [entry.id for entry in whole.data]


async def test_a_timeline_is_filtered_by_kind(shop: Shop) -> None:
    await shop.tell(ALEX, review(1))
    await shop.tell(ALEX, order())

    page = await queries.activity(*shop.read, ALEX, kind="custom_event.left_review", limit=10)

    assert [entry.kind for entry in page.data] == ["custom_event.left_review"]


async def test_an_event_shows_as_it_was_accepted(shop: Shop) -> None:
    profile = Profile(
        sealed=await shop.sealed(ALEX, SealedProfile(source_id="alex", email="alex@domain.io")),
        metadata=codec.raw({"VIP": True}),
    )
    told = CustomEvent(
        event="order.completed",
        event_id=order().event_id,
        identified="external",
        external_id="1",
        occurred_at=START,
        metadata=Raw(b'{"amount":149.99,"tiny":1e-30}'),
        sealed=await shop.sealed(ALEX, {"card": "4242"}),
        goal_type="purchase",
        goal_value=Decimal("149.99"),
        referral=ReferralMention(code="NRY-01"),
        loyalty=LoyaltyMention(code="CARD-7"),
        profile=profile,
    )
    await shop.tell(ALEX, told)

    found = await queries.find_event(*shop.read, told.event_id)

    assert found is not None
    assert codec.decode_json(found.metadata) == {
        "amount": Decimal("149.99"),
        "tiny": Decimal("1e-30"),
        "card": "4242",
    }
    assert (found.type, found.external_id, found.goal_value) == (
        "order.completed",
        "1",
        Decimal("149.99"),
    )
    assert found.customer.source_id == "alex" and found.customer.id == ALEX
    assert (found.outcome, found.version) == ("applied", 1)
    assert (found.occurred_at, found.created_at) == (START, shop.log.now)
    assert found.position.startswith("customer.events/")


async def test_the_outcome_is_that_of_the_last_version_received(shop: Shop) -> None:
    outcomes: list[tuple[str, int]] = []
    deleted = CustomEvent(
        event="order.completed",
        event_id=order().event_id,
        identified="external",
        external_id="1",
        deleted_at=START,
    )
    for told in (
        order(amount=1),
        order(amount=1),
        order(amount=2, hour=-1),
        order(amount=3),
        deleted,
    ):
        await shop.tell(ALEX, told)
        found = await queries.find_event(*shop.read, told.event_id)
        assert found is not None
        outcomes.append((found.outcome, found.version))

    assert outcomes == [
        ("applied", 1),
        ("duplicate", 1),
        ("stale", 1),
        ("replaced", 2),
        ("deleted", 3),
    ]


async def test_events_are_listed_by_what_is_asked_for(shop: Shop) -> None:
    await shop.knows(ALEX, SealedProfile(source_id="alex"))
    for number in range(3):
        await shop.tell(ALEX, review(number, hour=-number))
        await shop.tell(KIM, order(str(number), hour=-number))

    async def count(
        *, event: str | None = None, customer: str | None = None, external_id: str | None = None
    ) -> int:
        page = await queries.list_events(
            *shop.read, event=event, customer=customer, external_id=external_id, limit=10
        )
        return len(page.data)

    assert await count() == 6
    assert await count(event="left_review") == 3
    assert await count(customer=KIM) == 3
    assert await count(customer="alex", event="left_review") == 3
    assert await count(customer="alex", event="order.completed") == 0
    assert await count(customer="nobody") == 0
    assert await count(external_id="1") == 1
    assert await count(external_id="1", event="order.completed") == 1
    assert await count(external_id="1", event="left_review") == 0
    within = await queries.list_events(
        *shop.read, since=START - timedelta(hours=1), until=START - timedelta(hours=1), limit=10
    )
    assert len(within.data) == 2


@pytest.mark.parametrize("event", [None, "left_review"])
async def test_lists_of_events_page_newest_first(shop: Shop, event: str | None) -> None:
    for number in range(5):
        await shop.tell(ALEX, review(number, hour=-(number // 2)))
        await shop.tell(KIM, order(str(number), hour=-(number // 2)))
    whole = await queries.list_events(*shop.read, event=event, limit=100)

    seen: list[str] = []
    cursor = None
    while True:
        page = await queries.list_events(*shop.read, event=event, limit=3, cursor=cursor)
        seen += [each.id for each in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == [each.id for each in whole.data]
    assert len(seen) == len(set(seen)) == (10 if event is None else 5)
    instants = [each.occurred_at for each in whole.data]
    assert instants == sorted(instants, reverse=True)


async def test_the_workspace_activity_is_newest_first_over_all_customers(shop: Shop) -> None:
    for number in range(3):
        await shop.tell(ALEX, review(number))
        await shop.tell(KIM, order(str(number)))
    whole = await queries.workspace_activity(*shop.read, limit=100)

    first = await queries.workspace_activity(*shop.read, limit=3)
    rest = await queries.workspace_activity(*shop.read, limit=100, cursor=first.next_cursor)

    assert first.data + rest.data == whole.data
    assert {entry.customer for entry in whole.data} == {ALEX, KIM}
    assert [entry.recorded_at for entry in whole.data] == sorted(
        (entry.recorded_at for entry in whole.data), reverse=True
    )


async def test_samples_of_a_type_are_what_was_sent(shop: Shop) -> None:
    for number in range(3):
        await shop.tell(KIM, order(str(number), hour=-number, amount=number))

    found = await queries.sample_events(*shop.read, "order.completed", limit=2)

    assert [codec.decode_json(each) for each in found] == [{"amount": 0}, {"amount": 1}]


@pytest.mark.parametrize("cursor", ["", "!", "AAAA", "ö", "k6ZldmVudHM", "x" * 500])
async def test_a_cursor_of_nobodys_is_refused(shop: Shop, cursor: str) -> None:
    with pytest.raises(RefusedError):
        await queries.activity(*shop.read, ALEX, limit=1, cursor=cursor)
    with pytest.raises(RefusedError):
        await queries.list_events(*shop.read, limit=1, cursor=cursor)
    with pytest.raises(RefusedError):
        await queries.workspace_activity(*shop.read, limit=1, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, queries.LIMIT_MAX + 1])
async def test_a_limit_out_of_bounds_is_refused(shop: Shop, limit: int) -> None:
    with pytest.raises(RefusedError):
        await queries.list_events(*shop.read, limit=limit)


@pytest.mark.parametrize("event", ["", "event_", "event_xyz", "ms_" + "0" * 32])
async def test_what_is_no_event_id_names_no_event(shop: Shop, event: str) -> None:
    assert await queries.find_event(*shop.read, event) is None
