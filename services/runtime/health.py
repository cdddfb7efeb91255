"""/healthz, /readyz and /metrics, on every process, beside its own work in the same loop.

/healthz says that the loop turns; /readyz answers 503 with the reasons while the process cannot do
its work, so that a balancer sends nothing and an operator reads why.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Self

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.runtime import metrics, problems

Readiness = Callable[[], list[str]]
"""Returns why the process is not ready, a sentence each; empty when it is."""

CONNECTIONS_MAX = 64  # probes and scrapers only
JSON = "application/json"
_READS = ("GET", "HEAD")


def health_routes(readiness: Readiness) -> list[Route]:
    """Return the three routes, for a process that serves HTTP anyway."""

    def ready() -> Response:
        reasons = readiness()
        return Response(
            msgspec.json.encode({"ready": not reasons, "reasons": reasons}),
            status_code=503 if reasons else 200,
            media_type=JSON,
        )

    return [
        Route("/healthz", _Probe(_alive)),
        Route("/readyz", _Probe(ready)),
        Route("/metrics", _Probe(_measured)),
    ]


class _Probe:
    """An ASGI application that reads no body: a request that has one ends its connection."""

    def __init__(self, answer: Callable[[], Response]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = problems.new_request_id()
        if scope["method"] in _READS:
            response = self._answer()
            response.headers[problems.REQUEST_ID_HEADER] = request_id
        else:
            allowed = problems.method_not_allowed(_READS)
            response = problems.problem_response(allowed, request_id, {"allow": ", ".join(_READS)})
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in scope["headers"]
        ):
            response.headers["connection"] = "close"
        await response(scope, receive, send)


class HealthServer:
    """Serves the three routes on a port of its own, as an async context manager.

    Args:
        port: 0 serves nothing.
        readiness: asked at each request.
        host: loopback unless a platform's probes come from elsewhere.
    """

    def __init__(self, port: int, readiness: Readiness, *, host: str = "127.0.0.1") -> None:
        self._port = port
        self._host = host
        app = Starlette(routes=health_routes(readiness))
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=1,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        if self._port == 0:
            return
        listener = socket.create_server((self._host, self._port))
        serving = self._server.serve(sockets=[listener])
        self._serving = asyncio.create_task(serving, name="health")

    async def stop(self) -> None:
        """Close the port."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
            self._serving = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _alive() -> Response:
    return Response(b'{"alive":true}', media_type=JSON)


def _measured() -> Response:
    return Response(metrics.exposition(), media_type=metrics.EXPOSITION_TYPE)
