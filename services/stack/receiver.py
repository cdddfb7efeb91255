"""A webhook receiver to play with: checks signatures as any receiver should, shows what came.

It keeps the last messages in memory only. ``GET /`` lists them, newest first.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from base64 import b64encode
from binascii import Error as NotBase64Error
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

import msgspec
import uvicorn
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.stack.ports import LOOPBACK

PATH = "/webhooks"
SECRET_BYTES = 32
KEPT_MAX = 200  # messages; a glance back, not an archive
BODY_BYTES_MAX = 1024 * 1024  # a message holds one event of at most 64 KiB and one profile


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an event or customer that is shown."""

    id: str
    type: str | None = None


class News(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a message's data that is shown."""

    customer: Subject
    event: Subject | None = None


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A message that came with a good signature."""

    id: str
    type: str
    timestamp: str
    data: News


def new_receiver_secret() -> str:
    """Draw a signing secret in the form of Standard Webhooks."""
    return f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


class Receiver:
    """Listens on a loopback port within the running loop."""

    def __init__(self, port: int, secret: str, show: Callable[[Received], None]) -> None:
        self._port = port
        self._key = Webhook(secret)
        self._show = show
        self._kept: deque[Received] = deque(maxlen=KEPT_MAX)
        self._serving: asyncio.Task[None] | None = None
        app = Starlette(
            routes=[
                Route(PATH, self._take, methods=["POST"]),
                Route("/", self._list),
            ],
            max_body_size=BODY_BYTES_MAX,
        )
        self._server = _Server(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        )

    @property
    def url(self) -> str:
        """Where webhooks go."""
        return f"http://{LOOPBACK}:{self._port}{PATH}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        listener = socket.create_server((LOOPBACK, self._port))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """Close the port."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        try:
            self._key.verify(body, dict(request.headers))
            received = msgspec.json.decode(body, type=Received)
        except (WebhookVerificationError, NotBase64Error, ValueError):
            return Response("the signature does not verify", status_code=401)
        if received not in self._kept:
            self._kept.appendleft(received)
            self._show(received)
        return Response(status_code=204)

    async def _list(self, _request: Request) -> Response:
        return Response(msgspec.json.encode(list(self._kept)), media_type="application/json")


class _Server(uvicorn.Server):
    """Leaves the signals to the stack."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
