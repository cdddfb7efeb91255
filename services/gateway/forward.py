"""What is not the gateway's own goes to the api process, both ways as it is.

Guarantee: the api sees the client's method, path, query, headers and body byte for byte; the client
sees the api's answer, streamed. Only what belongs to one connection stays behind. With the api away
the answer is 503.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from starlette.types import Receive, Scope, Send

from services.gateway.bodies import Bodies, Body
from services.gateway.bounds import BATCH_BYTES_MAX
from services.runtime import problems
from services.runtime.loopback import Loopback, LoopbackAnswer, LoopbackError
from services.runtime.problems import ProblemError

_OF_ONE_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


async def forward(api: Loopback, scope: Scope, receive: Receive, send: Send, bodies: Bodies) -> int:
    """Pass a request on and its answer back; answers the status.

    Raises:
        ProblemError: 503, the api did not answer; or what ``Body.read`` raises.
        LoopbackError: the api broke off in the middle of its answer.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    target: bytes = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    with Body(receive, headers, bodies) as body:
        content = await body.read(BATCH_BYTES_MAX, unpack=False)
        async with AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(
                    api.request(
                        scope["method"],
                        target.decode("latin-1"),
                        _request_headers(headers),
                        content,
                    )
                )
            except LoopbackError as error:
                raise ProblemError(problems.unavailable("The api cannot be reached.")) from error
            await _pass_back(answer, receive, send)
            return answer.status


async def _pass_back(answer: LoopbackAnswer, receive: Receive, send: Send) -> None:
    """Stream an answer until it ends or the client is gone."""
    headers = [
        (name.lower(), value)
        for name, value in answer.headers
        if name.lower() not in _OF_ONE_CONNECTION
    ]
    started = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(started)
    gone = asyncio.ensure_future(_disconnected(receive))
    passing = asyncio.ensure_future(_pass_body(answer, send))
    try:
        await asyncio.wait({gone, passing}, return_when=asyncio.FIRST_COMPLETED)
        if passing.done():
            passing.result()
    finally:
        gone.cancel()
        passing.cancel()


async def _pass_body(answer: LoopbackAnswer, send: Send) -> None:
    async for piece in answer.pieces():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _request_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name not in _OF_ONE_CONNECTION and name != b"content-length"
    ]
