"""The front door itself: keys, methods, limits, deadlines, forwarding, health."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from collections.abc import AsyncGenerator

import msgspec
import pytest
import pytest_asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.codec import encode
from services.gateway import protocol
from services.gateway.__main__ import Server
from services.gateway.bounds import BATCH_BYTES_MAX, EVENT_BYTES_MAX
from services.runtime.access import digest_of
from services.runtime.postgres import connect
from services.stack.ports import free_port
from tests.support.gateway import ADMIN_KEY, Gateway, gateway_settings, prepare, running_gateway
from tests.support.servers import fresh_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENT = {"event": "signed_up", "customer": {"source_id": "alex"}}


async def _echo(request: Request) -> Response:
    if request.url.path == "/v1/broken":
        raise RuntimeError
    shown = {
        "method": request.method,
        "target": request.scope["raw_path"].decode() + "?" + request.url.query,
        "header": request.headers.get("x-mine"),
        "body": (await request.body()).decode(),
    }
    return Response(
        encode(shown), status_code=207, headers={"x-theirs": "1"}, media_type="application/json"
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(kafka: str, postgres: str) -> AsyncGenerator[Gateway]:
    api = Starlette(routes=[Route("/{path:path}", _echo, methods=["GET", "PUT", "DELETE"])])
    port = free_port()
    config = uvicorn.Config(api, port=port, log_config=None, access_log=False, lifespan="off")
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    with fresh_database(postgres) as database:
        prefix = f"t{uuid.uuid4().hex[:12]}-"
        settings = gateway_settings(kafka, database, prefix, api_port=port)
        await prepare(settings)
        async with running_gateway(settings) as running:
            yield running
    server.should_exit = True
    await serving


async def talk(gateway: Gateway, sent: bytes, *, seconds: float = 10) -> bytes:
    """Send bytes on a new connection; answers all that comes until the gateway hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {ADMIN_KEY}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch", "/v1/customers"])
async def test_no_key_is_401_and_a_missing_scope_403(gateway: Gateway, path: str) -> None:
    session = await connect(gateway.settings.postgres)
    await session.execute(
        "INSERT INTO api_keys (id, workspace, name, digest, scopes, created_at)"
        " VALUES (%s, 'demo', 'reader', %s, '{customers:read}', now())",
        (f"key{path}", digest_of(f"reader{path}")),
    )
    await session.close()

    without = await gateway.post(path, EVENT, key="")
    unknown = await gateway.post(path, EVENT, key="guess")
    reader = await gateway.post(path, EVENT, key=f"reader{path}")

    assert (without.status, unknown.status, reader.status) == (401, 401, 403)
    assert without.headers["WWW-Authenticate"].startswith("Bearer")
    assert b"customers:write" in reader.body or b"events:write" in reader.body


async def test_a_problem_document_has_all_its_fields(gateway: Gateway) -> None:
    answer = await gateway.post("/v1/events", b"{")

    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json
    assert document["request_id"] == answer.headers["X-Request-Id"]
    assert document["type"] == "urn:upshot:problem:event-invalid"
    assert document["key"] == "event_invalid"
    assert (document["status"], document["code"]) == (400, 400)


async def test_other_methods_are_405_with_those_allowed(gateway: Gateway) -> None:
    events = await gateway.request("PUT", "/v1/events")
    batch = await gateway.request("GET", "/v1/events/batch")

    assert (events.status, events.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert (batch.status, batch.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded"])
async def test_another_media_type_is_415(gateway: Gateway, media: str) -> None:
    answer = await gateway.post("/v1/events", EVENT, headers={"Content-Type": media})

    assert answer.status == 415


async def test_everything_else_reaches_the_api_as_it_is(gateway: Gateway) -> None:
    read = await gateway.request("GET", "/v1/events?event=a%20b&limit=3")
    escaped = await gateway.request(
        "PUT", "/v1/customers/a%2Fb%20c?x=%C3%A9", b"hello", headers={"X-Mine": "7"}
    )

    assert (read.status, read.json["target"]) == (207, "/v1/events?event=a%20b&limit=3")
    assert escaped.headers["X-Theirs"] == "1"
    assert escaped.json == {
        "method": "PUT",
        "target": "/v1/customers/a%2Fb%20c?x=%C3%A9",
        "header": "7",
        "body": "hello",
    }


async def test_an_api_that_is_away_is_503(kafka: str, postgres: str) -> None:
    with fresh_database(postgres) as database:
        prefix = f"t{uuid.uuid4().hex[:12]}-"
        settings = gateway_settings(kafka, database, prefix, api_port=free_port())
        await prepare(settings)
        async with running_gateway(settings) as alone:
            answer = await alone.request("GET", "/v1/projections")

    assert answer.status == 503
    assert "Retry-After" in answer.headers


async def test_a_body_too_large_is_413(gateway: Gateway) -> None:
    event = await gateway.post("/v1/events", b" " * (EVENT_BYTES_MAX + 1))
    bomb = await gateway.post(
        "/v1/events/batch",
        gzip.compress(b"0" * (BATCH_BYTES_MAX + 1)),
        headers={"Content-Encoding": "gzip"},
    )

    assert (event.status, bomb.status) == (413, 413)


async def test_a_chunked_body_without_end_is_cut_off(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head("/v1/events", "Transfer-Encoding: chunked"))
    answering = asyncio.create_task(reader.read(4096))
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    sent = 0
    try:
        while sent < 1 << 30:
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
    except ConnectionError:
        pass
    answer = await answering
    writer.close()

    assert sent < 1 << 26
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_head_that_does_not_come_is_408(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "RECEIVE_SECONDS", 0.2)

    answer = await talk(gateway, b"POST /v1/events HTTP/1.1\r\nHost:")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request-timeout" in answer


async def test_a_body_that_does_not_come_is_408(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "RECEIVE_SECONDS", 0.2)

    answer = await talk(gateway, head("/v1/events", "Content-Length: 100") + b"{")

    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("rest", [b"POST", head("/v1/events", "Content-Length: 9") + b"{"])
async def test_a_later_request_that_does_not_come_whole_is_408(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    monkeypatch.setattr(protocol, "RECEIVE_SECONDS", 0.2)
    body = encode(EVENT)
    first = head("/v1/events", f"Content-Length: {len(body)}") + body

    answer = await talk(gateway, first + rest)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_a_refusal_to_a_head_request_has_no_body(gateway: Gateway) -> None:
    asked = b"HEAD /v1/events/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    answer = await talk(gateway, asked)

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"connection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /v1/events HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
        (b"POST /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
async def test_what_is_not_http_gets_a_problem_and_the_end(
    gateway: Gateway, sent: bytes, status: int
) -> None:
    answer = await talk(gateway, sent)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    document = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
    assert document["status"] == status


async def test_a_connection_too_many_gets_a_problem_and_the_end(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 0)

    answer = await talk(gateway, b"")

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in answer


async def test_two_requests_on_one_connection_are_answered_in_order(gateway: Gateway) -> None:
    body = encode(EVENT)
    one = head("/v1/events", f"Content-Length: {len(body)}") + body
    last = head("/v1/events", f"Content-Length: {len(body)}", "Connection: close") + body

    answer = await talk(gateway, one + last)

    assert answer.count(b"HTTP/1.1 200 ") == 2


async def test_health_readiness_and_metrics_are_served(gateway: Gateway) -> None:
    accepted = await gateway.post("/v1/events", EVENT)
    health = await gateway.request("GET", "/healthz", key="")
    ready = await gateway.request("GET", "/readyz", key="")
    metrics = await gateway.request("GET", "/metrics", key="")

    assert accepted.status == 200
    assert (health.status, ready.status) == (200, 200)
    assert b"upshot_events_accepted_total" in metrics.body


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_answer_as_all_else_does_and_read_no_body(gateway: Gateway, path: str) -> None:
    read = await gateway.request("GET", path, key="")
    other = await gateway.request("DELETE", path, key="")
    posted = await talk(gateway, head(path, "Content-Length: 1000000000") + b"x")

    assert read.headers["X-Request-Id"]
    assert (other.status, other.headers["Allow"]) == (405, "GET, HEAD")
    assert other.headers["Content-Type"] == "application/problem+json"
    assert other.json["request_id"] == other.headers["X-Request-Id"]
    assert posted.startswith(b"HTTP/1.1 405 ")
    assert b"connection: close" in posted.lower()


async def test_what_is_wrong_with_the_whole_is_said_of_the_whole(gateway: Gateway) -> None:
    answer = await gateway.post("/v1/events", b"[]")

    assert answer.json["detail"] == "What was sent is not an object"
    assert b'"pointer":""' in answer.body
