"""Deliveries on a real Postgres to a real receiver: what is sent, retried, refused and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from services.dispatcher.errors import EndpointDisabledError, UnknownDeliveryError
from services.dispatcher.queries import (
    DeliveryFilter,
    enable_endpoint,
    find_delivery,
    find_endpoint_state,
    redrive,
    redrive_all,
)
from tests.support.deliveries import MASTER, SECRET, WORKSPACE, Queue, delivery_of, queue, sender
from tests.support.eventually import eventually
from tests.support.webhook_receiver import answering, receiver

OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture(name="deliveries")
async def _deliveries(database: str) -> AsyncGenerator[Queue]:
    async with queue(database) as made:
        yield made


async def test_a_message_is_sent_signed_with_its_exact_bytes(deliveries: Queue) -> None:
    async with receiver() as there, sender(deliveries):
        await deliveries.define("crm", there.url, headers={"authorization": "Bearer t"})
        [message] = await deliveries.put("crm")

        await eventually(lambda: deliveries.all_are("succeeded"))

    [got] = there.received
    assert got.body == message.body
    assert got.headers["webhook-id"] == message.id
    assert got.headers["content-type"] == "application/json"
    assert got.headers["authorization"] == "Bearer t"
    Webhook(SECRET).verify(got.body, got.headers)


async def test_a_failed_attempt_is_made_again_with_the_same_id_and_a_new_time(
    deliveries: Queue,
) -> None:
    async with receiver(answering(500, 200)) as there, sender(deliveries, schedule=(0, 2)):
        await deliveries.define("crm", there.url)
        [message] = await deliveries.put("crm")

        await eventually(lambda: deliveries.all_are("succeeded"))

    assert there.ids() == [message.id, message.id]
    first, second = (int(each.headers["webhook-timestamp"]) for each in there.received)
    assert second > first
    assert [status for status, _, _ in await deliveries.attempts()] == [500, 200]


async def test_the_schedule_ends_and_a_redrive_begins_it_anew(deliveries: Queue) -> None:
    async with receiver(answering(503, 503, 200)) as there, sender(deliveries, schedule=(0, 0)):
        await deliveries.define("crm", there.url)
        [message] = await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("exhausted"))

        again = await redrive(deliveries.session, WORKSPACE, delivery_of(message))
        await eventually(lambda: deliveries.all_are("succeeded"))

    assert again.state == "pending"
    detail = await find_delivery(deliveries.session, WORKSPACE, delivery_of(message))
    assert [each.status for each in detail.attempts] == [503, 503, 200]
    assert detail.delivery.attempts_count == 3
    assert bytes(detail.body) == message.body


async def test_a_redirect_is_a_failure_and_never_followed(deliveries: Queue) -> None:
    async with receiver() as elsewhere:
        redirecting = answering(308, headers={"Location": elsewhere.url})
        async with receiver(redirecting) as there, sender(deliveries, schedule=(0,)):
            await deliveries.define("crm", there.url)
            await deliveries.put("crm")
            await eventually(lambda: deliveries.all_are("exhausted"))

    assert len(there.received) == 1
    assert elsewhere.received == []


async def test_410_disables_the_endpoint_until_it_is_enabled(deliveries: Queue) -> None:
    async with receiver(answering(410, 200)) as there, sender(deliveries):
        await deliveries.define("crm", there.url)
        [first] = await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("disabled"))
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("disabled"))

        assert len(there.received) == 1
        state = await find_endpoint_state(deliveries.session, WORKSPACE, "crm")
        assert (state.state, state.disabled_reason) == ("disabled", "answered 410")
        with pytest.raises(EndpointDisabledError):
            await redrive(deliveries.session, WORKSPACE, delivery_of(first))

        enabled = await enable_endpoint(deliveries.session, WORKSPACE, "crm")
        assert enabled.state == "enabled"
        wanted = DeliveryFilter(endpoint="crm", state="disabled")
        assert await redrive_all(deliveries.session, WORKSPACE, wanted) == 2
        await eventually(lambda: deliveries.all_are("succeeded"))


@pytest.mark.parametrize(
    ("asked", "least", "most"), [("70", 65, 72), ("900", 115, 120), ("1", 55, 72)]
)
async def test_retry_after_is_honoured_within_one_to_two_steps(
    deliveries: Queue, asked: str, least: float, most: float
) -> None:
    there_is_later = answering(429, headers={"Retry-After": asked})
    async with receiver(there_is_later) as there, sender(deliveries, schedule=(0, 60)):
        await deliveries.define("crm", there.url)
        await deliveries.put("crm")
        await eventually(lambda: len(there.received) == 1)
        await eventually(lambda: deliveries.all_are("pending"))

        wait_seconds = await deliveries.wait_seconds()

    assert least <= wait_seconds <= most


async def test_a_slow_drip_ends_at_the_deadline(deliveries: Queue) -> None:
    async def drip(request: web.Request, _count: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b".")
            await asyncio.sleep(0.05)
        return response

    async with receiver(drip) as there, sender(deliveries, schedule=(0,), deadline_seconds=0.5):
        await deliveries.define("crm", there.url)
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("exhausted"))

    [(status, error, _)] = await deliveries.attempts()
    assert status is None
    assert error == "no whole answer within 0.5 s"


async def test_of_an_endless_answer_only_the_beginning_is_read(deliveries: Queue) -> None:
    async def endless(request: web.Request, _count: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async with receiver(endless) as there, sender(deliveries, deadline_seconds=5):
        await deliveries.define("crm", there.url)
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("succeeded"))

    [(status, _, answer)] = await deliveries.attempts()
    assert status == 200
    assert answer == b"x" * 4096


async def test_a_lost_connection_is_tried_again_within_the_attempt(deliveries: Queue) -> None:
    async def resetting_twice(request: web.Request, count: int) -> web.StreamResponse:
        if count < 2:
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    async with receiver(resetting_twice) as there, sender(deliveries, schedule=(0,)):
        await deliveries.define("crm", there.url)
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("succeeded"))

    assert len(there.received) == 3
    assert len(await deliveries.attempts()) == 1


async def test_a_new_secret_signs_beside_the_old_one(deliveries: Queue) -> None:
    async with receiver() as there, sender(deliveries):
        await deliveries.define("crm", there.url)
        await deliveries.session.execute(
            "UPDATE upshot.endpoint_secrets SET previous_secret = secret, secret = %s,"
            " previous_until = now() + interval '1 day'",
            (MASTER.wrap(OTHER_SECRET.encode()),),
        )
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("succeeded"))

    [got] = there.received
    Webhook(SECRET).verify(got.body, got.headers)
    Webhook(OTHER_SECRET).verify(got.body, got.headers)


async def test_an_old_secret_signs_no_longer_than_it_may(deliveries: Queue) -> None:
    async with receiver() as there, sender(deliveries):
        await deliveries.define("crm", there.url)
        await deliveries.session.execute(
            "UPDATE upshot.endpoint_secrets SET previous_secret = %s,"
            " previous_until = now() - interval '1 s'",
            (MASTER.wrap(OTHER_SECRET.encode()),),
        )
        await deliveries.put("crm")
        await eventually(lambda: deliveries.all_are("succeeded"))

    assert len(there.received[0].headers["webhook-signature"].split(" ")) == 1


async def test_an_endpoint_at_a_forbidden_address_is_never_reached(deliveries: Queue) -> None:
    async with sender(deliveries, schedule=(0,)):
        await deliveries.define("inside", "http://10.1.2.3/")
        await deliveries.put("inside")
        await eventually(lambda: deliveries.all_are("exhausted"))

    assert [error for _, error, _ in await deliveries.attempts()] == ["the address is not allowed"]


async def test_a_delivery_of_another_workspace_is_unknown(deliveries: Queue) -> None:
    [message] = await deliveries.put("crm")

    with pytest.raises(UnknownDeliveryError):
        await find_delivery(deliveries.session, "other", delivery_of(message))
    with pytest.raises(UnknownDeliveryError):
        await redrive(deliveries.session, "other", delivery_of(message))
    assert await redrive_all(deliveries.session, "other", DeliveryFilter()) == 0


@pytest.mark.parametrize("name", ["", "dlv_", "dlv_zz", "x" * 50, "dlv_" + "0" * 31, "{}"])
async def test_a_name_of_no_delivery_is_unknown(deliveries: Queue, name: str) -> None:
    with pytest.raises(UnknownDeliveryError):
        await find_delivery(deliveries.session, WORKSPACE, name)
