"""A real HTTP server on loopback that receives webhooks and answers as a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

Respond = Callable[[web.Request, int], Awaitable[web.StreamResponse]]
"""Answers a request; told how many came before it."""


class Received(msgspec.Struct, frozen=True):
    """One request: its path, headers by lower-case name, and body."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Keeps what it received, in order of arrival."""

    def __init__(self, respond: Respond) -> None:
        self.received: list[Received] = []
        self.respond = respond
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Keep a request and answer it."""
        count = len(self.received)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, await request.read()))
        return await self.respond(request, count)

    def ids(self) -> list[str]:
        """Give the message ids in order of arrival."""
        return [each.headers["webhook-id"] for each in self.received]


def answering(*statuses: int, headers: dict[str, str] | None = None, text: str = "") -> Respond:
    """Answer with one status after the other, the last one for ever."""

    async def respond(_request: web.Request, count: int) -> web.Response:
        status = statuses[min(count, len(statuses) - 1)]
        return web.Response(status=status, headers=headers, text=text)

    return respond


@asynccontextmanager
async def receiver(respond: Respond | None = None) -> AsyncGenerator[Receiver]:
    """Run a receiver on a free port."""
    made = Receiver(respond or answering(200))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield made
    finally:
        await runner.cleanup()
