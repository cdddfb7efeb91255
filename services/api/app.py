"""The ASGI application: one way in for every request, one way out for every answer.

Guarantee: each answer has an X-Request-Id; each refusal is a problem document; a body, the time it
takes and the requests at once are bounded.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from starlette.types import Receive, Scope, Send
from uuid_utils import uuid7

from services.api.call import NO_CONTENT, Call, Reply
from services.api.errors import problem_of
from services.api.matching import Found, Matcher, NotAllowedError
from services.api.parameters import check_path, read_parameters
from services.api.routes import JSON, Route
from services.api.state import Api
from services.api.waiting import wait_for_positions, waits
from services.runtime import metrics
from services.runtime.access import Access, token_of
from services.runtime.problems import (
    MEDIA_TYPE,
    REQUEST_ID_HEADER,
    Problem,
    ProblemError,
    encode,
    forbidden,
    malformed,
    not_found,
    problem_headers,
    rate_limited,
    request_timeout,
    too_large,
    unauthorized,
    unsupported_media,
)

REQUESTS_MAX: Final = 1_024
"""Requests answered at once, streams included; each holds at most a body and a page."""
BODY_SECONDS: Final = 30.0
"""How long a body may take to arrive."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.\-]{8,100}")
_OF_INSTALLATION: Final = Problem(
    slug="forbidden",
    title="The key is of another workspace",
    status=403,
    detail="This is about the whole installation: it needs a key of the installation's own "
    "workspace (UPSHOT_WORKSPACE).",
)
_Headers = list[tuple[bytes, bytes]]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete, or while it waited."""


class App:
    """Answers requests by the route table."""

    def __init__(self, routes: Sequence[Route], api: Api) -> None:
        self._api = api
        self._matcher = Matcher(route for route in routes if route.call is not None)
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request (ASGI 3)."""
        assert scope["type"] == "http", "the server is configured for HTTP alone"
        headers: _Headers = scope["headers"]
        request_id = _request_id(headers)
        started = time.perf_counter()
        path = "none"
        status = 0
        self._running += 1
        try:
            found = self._find(scope)
            path = found.route.path
            reply = await self._answer(found, scope, receive, request_id)
            status = reply.status
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - every error becomes the one answer it deserves
            problem = problem_of(error)
            status = problem.status
            await _send_problem(send, problem, request_id, error)
        else:
            await _send_reply(receive, send, reply, request_id)
        finally:
            self._running -= 1
            metrics.HTTP_REQUESTS.labels(path, str(status)).inc()
            metrics.HTTP_SECONDS.labels(path).observe(time.perf_counter() - started)

    def _find(self, scope: Scope) -> Found:
        if self._running > REQUESTS_MAX:
            raise ProblemError(rate_limited(f"More than {REQUESTS_MAX} requests at once."))
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        return self._matcher.find(scope["method"], raw_path)

    async def _answer(self, found: Found, scope: Scope, receive: Receive, request_id: str) -> Reply:
        route = found.route
        headers: _Headers = scope["headers"]
        access = None if route.is_open else await self._admit(route, headers)
        unknown = check_path(route.path_params, found.path)
        if unknown is not None:
            raise ProblemError(not_found(f"The {unknown.name} is none of those there are."))
        values = read_parameters(route, scope["query_string"], headers)
        media, content = JSON, b""
        if route.body is not None:
            content = await _read_body(receive, headers, route.body.bytes_max)
            media = _media(headers, route.body.media, has_content=bool(content))
            if route.body.required and not content:
                raise ProblemError(malformed("A body is needed."))
        call = Call(
            api=self._api,
            route=route,
            request_id=request_id,
            started_at=self._api.clock.now(),
            access=access,
            path=found.path,
            values=values,
            media=media,
            content=content,
        )
        if access is not None and route.method == "GET" and waits(call):
            await _while_there(receive, wait_for_positions(call))
        assert route.call is not None, "the matcher knows only routes of this process"
        return await route.call(call)

    async def _admit(self, route: Route, headers: _Headers) -> Access:
        token = token_of(headers)
        access = None if token is None else await self._api.keys.find(token)
        if access is None:
            raise ProblemError(unauthorized())
        if not any(access.allows(scope) for scope in route.scopes) and len(route.scopes) == 1:
            raise ProblemError(forbidden(route.scopes[0]))
        if route.is_of_installation and access.workspace != self._api.settings.workspace:
            raise ProblemError(_OF_INSTALLATION)
        return access


def _request_id(headers: _Headers) -> str:
    """The id that a proxy before us gave the request, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID_HEADER.encode() and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return f"req_{uuid7().hex}"


async def _read_body(receive: Receive, headers: _Headers, bytes_max: int) -> bytes:
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > bytes_max:
            raise ProblemError(too_large(bytes_max))
        if name == b"content-encoding" and value.lower() not in (b"", b"identity"):
            raise ProblemError(unsupported_media("Bodies are taken without encoding here."))
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part: bytes = message.get("body", b"")
                size += len(part)
                if size > bytes_max:
                    raise ProblemError(too_large(bytes_max))
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        slow = request_timeout(f"The body did not arrive in {BODY_SECONDS:.0f} s.")
        raise ProblemError(slow) from error


def _media(headers: _Headers, taken: tuple[str, ...], *, has_content: bool) -> str:
    """The body's media type, one of those taken; the first of them when none is said."""
    for name, value in headers:
        if name == b"content-type" and value:
            media = value.decode("latin-1").partition(";")[0].strip().lower()
            if media.endswith("+json"):
                media = JSON
            if media in taken or not has_content:
                return media
            raise ProblemError(unsupported_media(f"Taken here: {', '.join(taken)}."))
    return taken[0]


async def _send_reply(receive: Receive, send: Send, reply: Reply, request_id: str) -> None:
    headers = [*reply.headers, ("content-type", reply.media), (REQUEST_ID_HEADER, request_id)]
    if reply.stream is not None:
        await _start(send, reply.status, headers)
        await _send_stream(receive, send, reply.stream)
        return
    content = reply.body()
    if reply.status != NO_CONTENT:
        headers.append(("content-length", str(len(content))))
    await _start(send, reply.status, headers)
    await send({"type": "http.response.body", "body": content})


async def _send_stream(receive: Receive, send: Send, stream: AsyncGenerator[bytes]) -> None:
    """Send parts as they come, until the stream ends or the client is gone."""
    gone = asyncio.create_task(_disconnected(receive))
    try:
        async with aclosing(stream) as parts:
            while True:
                part = asyncio.ensure_future(anext(parts, None))
                await asyncio.wait((part, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    part.cancel()
                    await asyncio.wait((part,))
                    return
                content = part.result()
                if content is None:
                    break
                await send({"type": "http.response.body", "body": content, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _while_there(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Do it for as long as the client is there; raises ``ClientGoneError`` when it leaves."""
    gone, working = asyncio.create_task(_disconnected(receive)), asyncio.create_task(work)
    try:
        await asyncio.wait((gone, working), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        working.result()
    finally:
        gone.cancel()
        working.cancel()
        await asyncio.wait((gone, working))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_problem(send: Send, problem: Problem, request_id: str, error: Exception) -> None:
    content = encode(problem, request_id)
    headers = [
        *problem_headers(problem, request_id).items(),
        ("content-type", MEDIA_TYPE),
        ("content-length", str(len(content))),
    ]
    if isinstance(error, NotAllowedError):
        headers.append(("allow", ", ".join(error.allowed)))
    await _start(send, problem.status, headers)
    await send({"type": "http.response.body", "body": content})


async def _start(send: Send, status: int, headers: Iterable[tuple[str, str]]) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
