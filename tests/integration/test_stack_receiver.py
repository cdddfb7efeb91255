"""The local receiver believes a signature and nothing else."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from services.stack.ports import free_port
from services.stack.receiver import Received, Receiver, new_receiver_secret

BODY = (
    '{"id": "msg_1", "type": "customer.custom_event", "timestamp": "2026-11-21T09:30:00Z",'
    ' "workspace": "demo", "source": {"object": "distribution", "name": "reviews"},'
    ' "data": {"event": {"id": "event_1", "type": "left_review"}, "customer": {"id": "cust_1"}}}'
)
SECRET = new_receiver_secret()


@pytest.fixture
def shown() -> list[Received]:
    return []


@pytest.fixture
async def receiver(shown: list[Received]) -> AsyncGenerator[Receiver]:
    made = Receiver(free_port(), SECRET, shown.append)
    await made.start()
    yield made
    await made.stop()


async def test_a_signed_message_is_taken_and_shown(
    receiver: Receiver, shown: list[Received]
) -> None:
    assert await _post(receiver, BODY, _signed(BODY)) == 204

    assert [received.id for received in shown] == ["msg_1"]
    assert shown[0].data.customer.id == "cust_1"


async def test_a_message_sent_twice_is_shown_once(
    receiver: Receiver, shown: list[Received]
) -> None:
    headers = _signed(BODY)

    assert [await _post(receiver, BODY, headers) for _ in range(2)] == [204, 204]

    assert len(shown) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-id": "msg_1", "webhook-timestamp": "now", "webhook-signature": "v1,x"},
        {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1"},
    ],
    ids=["absent", "nonsense", "malformed"],
)
async def test_an_unsigned_message_is_refused(
    headers: Mapping[str, str], receiver: Receiver, shown: list[Received]
) -> None:
    assert await _post(receiver, BODY, headers) == 401

    assert shown == []


async def test_a_message_changed_on_its_way_is_refused(
    receiver: Receiver, shown: list[Received]
) -> None:
    assert await _post(receiver, BODY.replace("cust_1", "cust_2"), _signed(BODY)) == 401

    assert shown == []


async def test_what_came_can_be_looked_at_again(receiver: Receiver) -> None:
    await _post(receiver, BODY, _signed(BODY))

    listed = await asyncio.to_thread(_call, receiver, "GET", "/", "", {})

    assert [each.id for each in msgspec.json.decode(listed[1], type=list[Received])] == ["msg_1"]


def _signed(body: str) -> Mapping[str, str]:
    now = datetime.now(tz=UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, body),
    }


async def _post(receiver: Receiver, body: str, headers: Mapping[str, str]) -> int:
    path = urlsplit(receiver.url).path
    return (await asyncio.to_thread(_call, receiver, "POST", path, body, headers))[0]


def _call(
    receiver: Receiver, method: str, path: str, body: str, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(receiver.url).netloc, timeout=5)
    try:
        connection.request(method, path, body.encode(), dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
