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
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.runtime import metrics

Readiness = Callable[[], list[str]]
"""Returns why the process is not ready, a sentence each; empty when it is."""

CONNECTIONS_MAX = 64  # probes and scrapers only
JSON = "application/json"


def health_routes(readiness: Readiness) -> list[Route]:
    """Return the three routes, for a process that serves HTTP anyway."""

    async def readyz(_request: Request) -> Response:
        reasons = readiness()
        return Response(
            msgspec.json.encode({"ready": not reasons, "reasons": reasons}),
            status_code=503 if reasons else 200,
            media_type=JSON,
        )

    return [
        Route("/healthz", _healthz),
        Route("/readyz", readyz),
        Route("/metrics", _metrics),
    ]


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


async def _healthz(_request: Request) -> Response:
    return Response(b'{"alive":true}', media_type=JSON)


async def _metrics(_request: Request) -> Response:
    return Response(metrics.exposition(), media_type=metrics.EXPOSITION_TYPE)
