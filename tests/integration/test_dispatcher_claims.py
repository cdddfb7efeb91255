"""Who sends what, and when: order, concurrency, rates, claims, senders that die or double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest
from aiohttp import web

from tests.support.deliveries import Queue, queue, sender
from tests.support.eventually import eventually
from tests.support.webhook_receiver import answering, receiver

OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture(name="deliveries")
async def _deliveries(database: str) -> AsyncGenerator[Queue]:
    async with queue(database) as made:
        yield made


async def test_deliveries_of_a_customer_come_in_order_through_failures(deliveries: Queue) -> None:
    async with receiver(answering(500, 500, 200)) as there, sender(deliveries, schedule=(0, 0, 0)):
        await deliveries.define("crm", there.url)
        messages = await deliveries.put("crm", 20)
        await eventually(lambda: deliveries.all_are("succeeded"))

    assert there.ids()[:3] == [messages[0].id] * 3
    assert there.ids()[2:] == [message.id for message in messages]


async def test_one_customers_failure_holds_up_no_other_customer(deliveries: Queue) -> None:
    async def refusing_the_first(request: web.Request, _count: int) -> web.StreamResponse:
        refused = request.headers["webhook-id"] == first.id
        return web.Response(status=500 if refused else 200)

    async with receiver(refusing_the_first) as there, sender(deliveries, schedule=(0, 600)):
        await deliveries.define("crm", there.url)
        [first] = await deliveries.put("crm", customer=1)
        await deliveries.put("crm", 3, customer=1)
        await deliveries.put("crm", 3, customer=2)

        await eventually(lambda: _states_are(deliveries, ["pending"] * 4 + ["succeeded"] * 3))

    assert there.ids().count(first.id) == 1


async def _states_are(deliveries: Queue, states: list[str]) -> bool:
    return await deliveries.states() == states


async def test_without_order_a_failure_holds_up_nothing(deliveries: Queue) -> None:
    async with receiver(answering(500, 200)) as there, sender(deliveries, schedule=(0, 600)):
        await deliveries.define("crm", there.url, ordered=False, concurrency=1)
        await deliveries.put("crm", 4)

        await eventually(lambda: _ended(deliveries, 3))


async def _ended(deliveries: Queue, count: int) -> bool:
    return (await deliveries.states()).count("succeeded") == count


async def test_an_endpoint_that_loses_its_order_lets_go_what_stood_behind(
    deliveries: Queue,
) -> None:
    async with receiver(answering(500, 200)) as there, sender(deliveries, schedule=(0, 600)):
        await deliveries.define("crm", there.url)
        await deliveries.put("crm", 4)
        await eventually(lambda: len(there.received) == 1)
        assert not await _ended(deliveries, 1)

        await deliveries.define("crm", there.url, ordered=False)
        await eventually(lambda: _ended(deliveries, 3))


async def test_a_dead_endpoint_slows_no_other(deliveries: Queue) -> None:
    async def never(_request: web.Request, _count: int) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with receiver(never) as dead, receiver() as there, sender(deliveries):
        await deliveries.define("dead", dead.url)
        await deliveries.define("crm", there.url)
        for customer in range(100):
            await deliveries.put("dead", customer=customer)
        begun = asyncio.get_running_loop().time()
        for customer in range(100):
            await deliveries.put("crm", customer=customer)

        await eventually(lambda: len(there.received) == 100)
        assert asyncio.get_running_loop().time() - begun < 3
        assert len(dead.received) == 10


async def test_no_more_attempts_run_at_once_than_the_endpoint_takes(deliveries: Queue) -> None:
    running, most = 0, 0

    async def counting(_request: web.Request, _count: int) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return web.Response()

    async with receiver(counting) as there, sender(deliveries):
        await deliveries.define("crm", there.url, concurrency=3)
        for customer in range(60):
            await deliveries.put("crm", customer=customer)
        await eventually(lambda: deliveries.all_are("succeeded"))

    assert most == 3


async def test_a_rate_is_kept(deliveries: Queue) -> None:
    async with receiver() as there:
        await deliveries.define("crm", there.url, rate="20")
        for customer in range(30):
            await deliveries.put("crm", customer=customer)
        loop = asyncio.get_running_loop()
        async with sender(deliveries):
            begun = loop.time()
            await eventually(lambda: len(there.received) == 30)
            seconds = loop.time() - begun

    assert 1.3 <= seconds <= 3


async def test_claims_of_a_sender_that_is_gone_are_made_again_at_once(deliveries: Queue) -> None:
    async with receiver() as there:
        await deliveries.define("crm", there.url)
        await deliveries.put("crm", 3)
        await deliveries.session.execute(
            "UPDATE deliveries.deliveries SET state = 'delivering', claimed_by = 4711,"
            " claimed_until = now() + interval '1 hour' WHERE place = 1"
        )
        async with sender(deliveries):
            await eventually(lambda: deliveries.all_are("succeeded"))

    assert len(there.received) == 3


async def test_claims_of_a_frozen_sender_end_with_their_lease(deliveries: Queue) -> None:
    async with receiver() as there:
        await deliveries.define("crm", there.url)
        await deliveries.put("crm")
        await deliveries.session.execute("SELECT pg_advisory_lock(1970303844, 4711)")
        await deliveries.session.execute(
            "UPDATE deliveries.deliveries SET state = 'delivering', claimed_by = 4711,"
            " claimed_until = now() + interval '1 s'"
        )
        async with sender(deliveries):
            await eventually(lambda: deliveries.all_are("succeeded"))

    assert len(there.received) == 1


async def test_a_stopped_sender_leaves_nothing_claimed(deliveries: Queue) -> None:
    started = asyncio.Event()

    async def slow(_request: web.Request, _count: int) -> web.StreamResponse:
        started.set()
        await asyncio.sleep(0.2)
        return web.Response()

    async with receiver(slow) as there:
        await deliveries.define("crm", there.url)
        await deliveries.put("crm")
        async with sender(deliveries):
            await asyncio.wait_for(started.wait(), 5)

        assert await deliveries.states() == ["succeeded"]
    assert len(there.received) == 1


async def test_after_postgres_closed_its_session_a_sender_goes_on(deliveries: Queue) -> None:
    async with receiver() as there, sender(deliveries) as sending:
        await deliveries.define("crm", there.url)
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("succeeded"))
        await deliveries.session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await deliveries.put("crm")

        await eventually(lambda: deliveries.all_are("succeeded"))
        assert sending.trouble is None

    assert len(there.received) == 2


async def test_two_senders_deliver_everything_once(deliveries: Queue) -> None:
    async with receiver() as there, sender(deliveries), sender(deliveries, seed=2):
        await deliveries.define("crm", there.url)
        for customer in range(50):
            await deliveries.put("crm", 4, customer=customer)
        await eventually(lambda: deliveries.all_are("succeeded"))

    assert len(there.received) == 200
    assert len(set(there.ids())) == 200


async def test_an_announced_delivery_goes_out_without_waiting_for_a_poll(
    deliveries: Queue,
) -> None:
    async with receiver() as there, sender(deliveries) as sending:
        key = await deliveries.define("crm", there.url)
        await deliveries.put("crm", customer=99)
        await eventually(lambda: len(there.received) == 1)
        loop, waits = asyncio.get_running_loop(), list[float]()
        for customer in range(10):
            begun = loop.time()
            await deliveries.put("crm", customer=customer)
            sending.announce([key])
            await eventually(lambda n=customer: len(there.received) == n + 2)
            waits.append(loop.time() - begun)

    assert sorted(waits)[5] < 0.1


async def test_putting_the_same_message_again_changes_nothing(deliveries: Queue) -> None:
    async with receiver() as there, sender(deliveries):
        await deliveries.define("crm", there.url)
        messages = await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("succeeded"))

        await deliveries.write(messages)

        assert await deliveries.states() == ["succeeded"]
    assert len(there.received) == 1


async def test_a_message_given_twice_in_one_set_is_owed_once(deliveries: Queue) -> None:
    [message] = await deliveries.put(None)
    again = msgspec.structs.replace(message, id="msg_" + "0" * 32, endpoint="crm")

    await deliveries.write([again, msgspec.structs.replace(again, place=again.place + 1), again])

    assert await deliveries.states() == ["pending"]


async def test_what_is_owed_to_an_endpoint_that_is_gone_ends_after_a_grace(
    deliveries: Queue,
) -> None:
    await deliveries.put("deleted", 2)
    await deliveries.session.execute(
        "UPDATE deliveries.deliveries SET next_attempt_at = now() - interval '1 hour'"
        " WHERE place = 1"
    )

    async with sender(deliveries):
        await eventually(lambda: _states_are(deliveries, ["disabled", "pending"]))


async def test_an_attempt_of_an_endpoint_without_a_secret_says_so(deliveries: Queue) -> None:
    async with sender(deliveries, schedule=(0,)):
        await deliveries.define("crm", "http://127.0.0.1:1/")
        await deliveries.session.execute("DELETE FROM upshot.endpoint_secrets")
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("exhausted"))

    assert [error for _, error, _ in await deliveries.attempts()] == ["the endpoint has no secret"]
