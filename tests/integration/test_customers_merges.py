"""A customer who was merged into another one, as the public surface shows the two."""

from __future__ import annotations

import random

import msgspec

from contracts import codec
from contracts.events import Profile, ProfileChanged, SealedProfile
from projections.customers import queries
from projections.customers.projection import Customers
from projections.customers.queries import StoredEvent
from services.runtime.postgres import connect
from tests.conformance.building import new_build
from tests.integration.test_customers import ALEX, KIM, MASTER, Shop, order, review, shop

__all__ = ["shop"]


async def merge(shop: Shop) -> None:
    """Merge Alex into Kim."""
    closed_at = shop.log.merge(ALEX, KIM)
    shop.log.merge(ALEX, KIM, closed_at=closed_at)
    await shop.build.run(shop.log)


async def events_of(shop: Shop, customer: str | None = None) -> list[StoredEvent]:
    page = await queries.list_events(*shop.read, customer=customer, limit=100)
    return page.data


async def test_the_survivors_fields_win_and_empty_ones_are_filled(shop: Shop) -> None:
    alex = SealedProfile(source_id="alex", email="alex@domain.io", phone="1")
    await shop.knows(ALEX, alex, city="Oslo", VIP=True)
    await shop.knows(KIM, SealedProfile(source_id="kim", email="kim@domain.io"), VIP=False)

    await merge(shop)

    kim = await queries.find_customer(*shop.read, KIM)
    assert kim is not None
    assert (kim.source_id, kim.email, kim.phone) == ("kim", "kim@domain.io", "1")
    assert codec.decode_json(kim.metadata) == {"city": "Oslo", "VIP": False}


async def test_who_was_merged_is_found_as_the_survivor(shop: Shop) -> None:
    await shop.knows(ALEX, SealedProfile(source_id="alex", email="alex@domain.io"))
    await shop.knows(KIM, SealedProfile(source_id="kim", email="kim@domain.io"))

    await merge(shop)

    kim = await queries.find_customer(*shop.read, KIM)
    assert kim is not None
    assert kim.id == KIM
    assert await queries.find_customer(*shop.read, ALEX) == kim
    assert await queries.find_customer(*shop.read, "alex") == kim
    assert (await queries.find_customers_by_email(*shop.read, "alex@domain.io")).data == []


async def test_events_and_timeline_of_both_are_the_survivors(shop: Shop) -> None:
    await shop.tell(ALEX, order("1"))
    await shop.tell(KIM, order("2"))
    await shop.tell(ALEX, review(3))

    await merge(shop)

    assert {each.customer.id for each in await events_of(shop)} == {KIM}
    assert len(await events_of(shop, ALEX)) == 3
    page = await queries.activity(*shop.read, KIM, limit=4)
    rest = await queries.activity(*shop.read, KIM, limit=4, cursor=page.next_cursor)
    kinds = [each.kind for each in (*page.data, *rest.data)]
    assert kinds == [
        "customer.merged",
        "custom_event.left_review",
        "custom_event.order.completed",
        "customer.created",
        "custom_event.order.completed",
        "customer.created",
    ]
    assert codec.decode_object(page.data[0].data) == {"merged": ALEX, "changes": {}}


async def test_a_fact_told_of_both_is_shown_once_and_as_the_survivors(shop: Shop) -> None:
    await shop.tell(ALEX, order("1", amount=1))
    await shop.tell(KIM, order("1", amount=2))

    await merge(shop)

    [shown] = await events_of(shop)
    assert (shown.customer.id, codec.decode_object(shown.metadata)) == (KIM, {"amount": 2})
    assert await queries.find_event(*shop.read, shown.id) == shown


async def test_a_new_version_of_a_fact_that_came_over_is_the_survivors(shop: Shop) -> None:
    await shop.tell(ALEX, order("1", amount=1))
    await merge(shop)

    await shop.tell(KIM, order("1", hour=1, amount=2))

    [shown] = await events_of(shop)
    assert (shown.outcome, shown.version) == ("replaced", 2)
    assert shown.position == last_position(shop)


def last_position(shop: Shop) -> str:
    last = max(
        (records[-1] for records in shop.log.partitions.values() if records),
        key=lambda each: each.appended_at_ms,
    )
    return f"customer.events/{last.partition}/{last.offset}"


async def test_what_is_told_late_opens_as_the_survivors(shop: Shop, database: str) -> None:
    await shop.knows(ALEX, SealedProfile(source_id="alex"))
    await shop.knows(KIM, SealedProfile(source_id="kim"))
    await merge(shop)
    passport = await shop.sealed(ALEX, {"passport": "X1"})
    name = Profile(sealed=await shop.sealed(ALEX, SealedProfile(name="Alex")))
    shop.log.tell(ALEX, msgspec.structs.replace(order("1"), sealed=passport, profile=name))
    shop.log.tell(ALEX, ProfileChanged(profile=Profile(metadata=codec.raw({"VIP": True}))))

    async with new_build(Customers(MASTER), database, live=True) as live:
        await live.live(shop.log, random.Random(1))
    await shop.build.run(shop.log)

    kim = await queries.find_customer(*shop.read, KIM)
    assert kim is not None
    assert (kim.name, kim.metadata) == ("Alex", codec.raw({"VIP": True}))
    [shown] = await events_of(shop, KIM)
    assert codec.decode_object(shown.metadata) == {"passport": "X1"}
    assert await shop.build.count("dead_letters") == 0


async def test_a_survivor_of_whom_nothing_was_told_begins_with_the_merge(shop: Shop) -> None:
    await shop.knows(ALEX, SealedProfile(source_id="alex", name="Alex"))

    await merge(shop)

    kim = await queries.find_customer(*shop.read, KIM)
    assert kim is not None
    assert (kim.name, kim.created_at) == ("Alex", shop.log.now)


async def test_of_a_customer_whose_key_is_gone_only_what_was_in_clear_is_passed_on(
    shop: Shop, database: str
) -> None:
    await shop.knows(ALEX, SealedProfile(source_id="alex"))
    await shop.knows(KIM, SealedProfile(source_id="kim"))
    await merge(shop)
    sealed = await shop.sealed(ALEX, SealedProfile(name="Alex"))
    control = await connect(database)
    await control.execute(
        "DELETE FROM customer_keys WHERE customer = %s", (ALEX.removeprefix("cust_"),)
    )
    await control.close()
    profile = Profile(sealed=sealed, metadata=codec.raw({"VIP": True}))
    shop.log.tell(ALEX, ProfileChanged(profile=profile))

    async with new_build(Customers(MASTER), database, live=True) as live:
        await live.live(shop.log, random.Random(1))
    await shop.build.run(shop.log)

    kim = await queries.find_customer(*shop.read, KIM)
    assert kim is not None
    assert (kim.name, kim.metadata) == (None, codec.raw({"VIP": True}))
