"""A client that calls the application in process, as a server would."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

import msgspec

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class NoAnswerError(Exception):
    """The request ended without an answer: the client had left."""


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Sends requests with one key."""

    def __init__(self, application: Application, key: str | None = None) -> None:
        self._application = application
        self._key = key

    def with_key(self, key: str | None) -> Client:
        return Client(self._application, key)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, headers=headers)

    async def delete(self, path: str, **headers: str) -> Answer:
        return await self.send("DELETE", path, headers=headers)

    async def post(self, path: str, value: object = None, **headers: str) -> Answer:
        return await self.send("POST", path, _json(value), headers=headers)

    async def put(self, path: str, value: object = None, **headers: str) -> Answer:
        return await self.send("PUT", path, _json(value), headers=headers)

    async def send(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        *,
        media: str = "application/json",
        headers: Mapping[str, str] | None = None,
        left: asyncio.Event | None = None,
    ) -> Answer:
        """Send a request; the client stays until ``left`` is set."""
        gone = left or asyncio.Event()
        raw_path, _, query = path.partition("?")
        sent = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        if self._key is not None:
            sent.setdefault("authorization", f"Bearer {self._key}")
        if content:
            sent.setdefault("content-type", media)
        scope: Message = {
            "type": "http",
            "method": method,
            "path": raw_path,
            "raw_path": quote(raw_path, safe="/%:@!$&'()*+,;=~.-_").encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        }
        parts = iter([{"type": "http.request", "body": content, "more_body": False}])
        received: list[Message] = []

        async def receive() -> Message:
            part = next(parts, None)
            if part is not None:
                return part
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            received.append(message)

        await self._application(scope, receive, send)
        if not received:
            raise NoAnswerError
        return Answer(
            received[0]["status"],
            {name.decode(): value.decode() for name, value in received[0]["headers"]},
            b"".join(message.get("body", b"") for message in received[1:]),
        )


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


def _json(value: object) -> bytes:
    return b"" if value is None else json.dumps(value).encode()
