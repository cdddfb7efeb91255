"""What may be asked of the queue: filters, pages, workspaces, redrives by filter."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from contracts.identifiers import CustomerId, derive
from services.dispatcher.deliveries import DeliveryState
from services.dispatcher.errors import NotRedrivableError
from services.dispatcher.queries import (
    After,
    Delivery,
    DeliveryFilter,
    find_deliveries,
    find_endpoint_state,
    redrive,
    redrive_all,
)
from services.dispatcher.retention import Retention
from services.runtime.postgres import DatabaseUnavailableError, connect
from tests.support.deliveries import WORKSPACE, Queue, delivery_of, queue

EVERYTHING = 1_000


@pytest.fixture(name="deliveries")
async def _deliveries(database: str) -> AsyncGenerator[Queue]:
    async with queue(database) as made:
        yield made


async def _find(deliveries: Queue, wanted: DeliveryFilter, limit: int = EVERYTHING) -> list[str]:
    found = await find_deliveries(deliveries.session, WORKSPACE, wanted, limit=limit)
    return [each.id for each in found]


async def _end(deliveries: Queue, place: int, state: DeliveryState) -> None:
    await deliveries.session.execute(
        "UPDATE deliveries.deliveries SET state = %s, ended_at = now() WHERE place = %s",
        (state, place),
    )


async def test_deliveries_are_found_by_each_of_their_traits(deliveries: Queue) -> None:
    [one] = await deliveries.put("crm", customer=1)
    [two] = await deliveries.put("crm", customer=2)
    [three] = await deliveries.put("erp", customer=2)
    await deliveries.put(None, customer=2)
    await _end(deliveries, one.place, "exhausted")
    everything = {delivery_of(each) for each in (one, two, three)}

    assert set(await _find(deliveries, DeliveryFilter())) == everything
    assert await _find(deliveries, DeliveryFilter(endpoint="erp")) == [delivery_of(three)]
    assert await _find(deliveries, DeliveryFilter(state="exhausted")) == [delivery_of(one)]
    assert await _find(deliveries, DeliveryFilter(event=two.event)) == [delivery_of(two)]
    assert set(await _find(deliveries, DeliveryFilter(customer=two.customer))) == {
        delivery_of(two),
        delivery_of(three),
    }
    assert await _find(deliveries, DeliveryFilter(customer=two.customer, endpoint="crm")) == [
        delivery_of(two)
    ]


async def test_times_of_a_filter_include_their_begin_and_not_their_end(deliveries: Queue) -> None:
    await deliveries.put("crm")
    [found] = await find_deliveries(deliveries.session, WORKSPACE, DeliveryFilter(), limit=1)

    inside = DeliveryFilter(created_from=found.created_at)
    outside = DeliveryFilter(created_to=found.created_at)

    assert await _find(deliveries, inside) == [found.id]
    assert await _find(deliveries, outside) == []


async def test_pages_lead_through_all_deliveries_once(deliveries: Queue) -> None:
    for _ in range(3):
        await deliveries.put("crm", 5)
    pages: list[list[Delivery]] = []
    after: After | None = None

    while page := await find_deliveries(
        deliveries.session, WORKSPACE, DeliveryFilter(endpoint="crm"), limit=4, after=after
    ):
        pages.append(page)
        after = After(created_at=page[-1].created_at, id=page[-1].id)

    found = [each for page in pages for each in page]
    assert len({each.id for each in found}) == len(found) == 15
    assert [each.created_at for each in found] == sorted(
        (each.created_at for each in found), reverse=True
    )


@pytest.mark.parametrize("state", ["pending", "delivering", "succeeded", "exhausted", "disabled"])
async def test_nothing_of_another_workspace_is_found(
    deliveries: Queue, state: DeliveryState
) -> None:
    await deliveries.put("crm")

    found = await find_deliveries(
        deliveries.session, "other", DeliveryFilter(state=state), limit=EVERYTHING
    )

    assert found == []


async def test_an_unknown_customer_or_event_finds_nothing(deliveries: Queue) -> None:
    [message] = await deliveries.put("crm")
    nobody = CustomerId("cust_" + derive("nobody").hex())

    assert await _find(deliveries, DeliveryFilter(customer=nobody)) == []
    assert await _find(deliveries, DeliveryFilter(customer=CustomerId("x"))) == []
    assert await _find(deliveries, DeliveryFilter(event=message.event, endpoint="erp")) == []


async def test_a_redrive_without_state_takes_what_failed(deliveries: Queue) -> None:
    messages = await deliveries.put("crm", 4)
    for message, state in zip(messages, ("exhausted", "disabled", "succeeded"), strict=False):
        await _end(deliveries, message.place, state)

    count = await redrive_all(deliveries.session, WORKSPACE, DeliveryFilter(endpoint="crm"))

    assert count == 2
    assert await deliveries.states() == ["pending", "pending", "succeeded", "pending"]


async def test_a_redrive_by_time_takes_only_that_time(deliveries: Queue) -> None:
    [message] = await deliveries.put("crm")
    await _end(deliveries, message.place, "exhausted")
    before = DeliveryFilter(created_to=datetime.now(tz=UTC) - timedelta(hours=1))
    after = DeliveryFilter(created_from=datetime.now(tz=UTC) - timedelta(hours=1))

    assert await redrive_all(deliveries.session, WORKSPACE, before) == 0
    assert await redrive_all(deliveries.session, WORKSPACE, after) == 1


async def test_what_waits_for_its_next_attempt_can_be_tried_now(deliveries: Queue) -> None:
    await deliveries.put("crm", first_wait=3_600)

    pending = DeliveryFilter(state="pending")
    assert await redrive_all(deliveries.session, WORKSPACE, pending) == 1
    assert await deliveries.wait_seconds() <= 0
    assert await redrive_all(deliveries.session, WORKSPACE, pending) == 0


async def test_what_is_being_attempted_cannot_be_redriven(deliveries: Queue) -> None:
    [message] = await deliveries.put("crm")
    await deliveries.session.execute(
        "UPDATE deliveries.deliveries SET state = 'delivering', claimed_by = 1,"
        " claimed_until = now() + interval '1 minute'"
    )

    with pytest.raises(NotRedrivableError):
        await redrive(deliveries.session, WORKSPACE, delivery_of(message))
    with pytest.raises(NotRedrivableError):
        await redrive_all(deliveries.session, WORKSPACE, DeliveryFilter(state="delivering"))


async def test_an_endpoint_that_was_never_owed_anything_is_enabled(deliveries: Queue) -> None:
    state = await find_endpoint_state(deliveries.session, WORKSPACE, "crm")

    assert (state.state, state.success_rate, state.waiting_count) == ("enabled", None, 0)


async def test_what_ended_long_ago_is_forgotten_and_what_is_owed_is_not(
    deliveries: Queue,
) -> None:
    messages = await deliveries.put("crm", 3)
    await deliveries.put(None)
    for message in messages[:2]:
        await _end(deliveries, message.place, "succeeded")
    await deliveries.session.execute(
        "UPDATE deliveries.deliveries SET created_at = created_at - interval '31 days',"
        " ended_at = ended_at - interval '31 days' WHERE place <> 2"
    )
    await deliveries.session.execute(
        "UPDATE deliveries.messages SET created_at = created_at - interval '31 days'"
        " WHERE delivery IS NULL"
    )

    assert await Retention(deliveries.conninfo).sweep() == 2

    assert await deliveries.states() == ["succeeded", "pending"]


async def test_before_the_dispatchers_first_start_it_is_said_to_be_away(database: str) -> None:
    session = await connect(database)
    try:
        with pytest.raises(DatabaseUnavailableError):
            await find_deliveries(session, WORKSPACE, DeliveryFilter(), limit=1)
        with pytest.raises(DatabaseUnavailableError):
            await find_endpoint_state(session, WORKSPACE, "crm")
    finally:
        await session.close()
