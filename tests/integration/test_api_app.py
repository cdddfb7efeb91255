"""The application around its routes: request ids, bounds, faults of ours, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from services.api import app as application
from services.api.app import App
from services.api.call import Call, Reply
from services.api.routes import EVENT_STREAM, Answers, Body, Method, Route
from tests.integration.api_process import RunningApi, running_api
from tests.unit.api.asgi import Client, Message


@pytest.fixture
async def api(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[RunningApi]:
    async with running_api(kafka, database, topic_prefix) as running:
        yield running


def _app(
    api: RunningApi, call: Callable[[Call], Awaitable[Reply]], *, method: Method = "GET"
) -> App:
    route = Route(
        method=method,
        path="/x",
        tag="t",
        summary="s",
        answers=Answers(description="d"),
        body=Body(description="b", bytes_max=10) if method == "POST" else None,
        call=call,
    )
    return App([route], api.api)


async def _echo(call: Call) -> Reply:
    return Reply(value=call.content.decode())


async def test_a_fault_of_ours_is_a_problem_that_tells_nothing(api: RunningApi) -> None:
    async def broken(_call: Call) -> Reply:
        raise KeyError("a secret thing")

    answer = await Client(_app(api, broken)).get("/x")

    assert (answer.status, answer.json()["key"]) == (500, "internal")
    assert b"secret" not in answer.content


async def test_a_request_id_that_came_is_kept_and_a_strange_one_is_not(api: RunningApi) -> None:
    async def answered(call: Call) -> Reply:
        return Reply(value=call.request_id)

    client = Client(_app(api, answered))

    kept = await client.get("/x", x_request_id="req_0123456789")
    drawn = await client.get("/x", x_request_id="bad id\t")

    assert kept.json() == kept.headers["x-request-id"] == "req_0123456789"
    assert drawn.json() == drawn.headers["x-request-id"] != "bad id\t"


async def test_head_is_answered_without_another_route(api: RunningApi) -> None:
    answer = await api.admin.send("HEAD", "/healthz")

    assert answer.status == 200


async def test_a_body_without_length_is_cut_off_at_its_bound(api: RunningApi) -> None:
    parts = iter(
        [{"type": "http.request", "body": b"123456", "more_body": True} for _ in range(1_000_000)]
    )
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return next(parts)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await _app(api, _echo, method="POST")(_scope("POST"), receive, send)

    assert sent[0]["status"] == 413
    assert taken == 2


async def test_a_client_that_leaves_in_mid_body_is_not_answered(api: RunningApi) -> None:
    messages = iter(
        [{"type": "http.request", "body": b"1", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(messages)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await _app(api, _echo, method="POST")(_scope("POST"), receive, send)

    assert sent == []


async def test_more_requests_than_are_taken_are_429(
    api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "REQUESTS_MAX", 1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_call: Call) -> Reply:
        entered.set()
        await leave.wait()
        return Reply(value=1)

    client = Client(_app(api, slow))
    first = asyncio.create_task(client.get("/x"))
    await entered.wait()
    second = await client.get("/x")
    leave.set()

    assert (second.status, second.headers["retry-after"]) == (429, "1")
    assert (await first).status == 200


async def test_a_stream_ends_when_its_client_is_gone(api: RunningApi) -> None:
    closed, gone = asyncio.Event(), asyncio.Event()

    async def ticks() -> AsyncGenerator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def streamed(_call: Call) -> Reply:
        return Reply(stream=ticks(), media=EVENT_STREAM)

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body") == b"one":
            gone.set()

    async with asyncio.timeout(5):
        await _app(api, streamed)(_scope("GET"), receive, send)

    assert closed.is_set()
    assert [message.get("body") for message in sent] == [None, b"one"]


def _scope(method: str) -> Message:
    return {
        "type": "http",
        "method": method,
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "headers": [],
    }
