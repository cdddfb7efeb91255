"""The front door as an ASGI application: who may, where to, and what becomes of errors.

Guarantee: whatever is sent, the answer is the path's own or a problem document, and bears
X-Request-Id; a request whose body was not read ends its connection.
"""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.bodies import Bodies, ClientGoneError, CutOffError
from services.gateway.bounds import LINGER_BYTES_MAX, LINGER_SECONDS, REQUESTS_MAX
from services.gateway.errors import INTERNAL, OverloadedError, problem_of
from services.gateway.forward import forward
from services.gateway.handling import Call, Handler
from services.gateway.replies import Reply, head, problem_reply, send_reply
from services.runtime import metrics, problems
from services.runtime.access import Access, KeyStore, token_of
from services.runtime.logging import logger
from services.runtime.loopback import Loopback
from services.runtime.problems import new_request_id

_log = logger(__name__)
_FORWARDED: Final = "forwarded"


class Route(Struct, frozen=True, kw_only=True):
    """A path of the gateway's own: what POST does there, and whether the api serves GET."""

    scope: str
    handler: Handler
    api_reads: bool


class FrontDoor:
    """The application.

    Args:
        routes: by path; everything else is the api's.
        health: serves /healthz, /readyz and /metrics.
        keys: who may.
        api: where the rest goes.
    """

    def __init__(
        self,
        *,
        routes: Mapping[str, Route],
        health: ASGIApp,
        keys: KeyStore,
        api: Loopback,
        bodies: Bodies,
    ) -> None:
        self._routes: Mapping[str, Route] = routes
        self._health: ASGIApp = health
        self._keys: KeyStore = keys
        self._api: Loopback = api
        self._bodies: Bodies = bodies
        self._requests: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        assert scope["type"] == "http", "the server is told to serve nothing else"
        path: str = scope["path"]
        if path in _HEALTH:
            await self._health(scope, receive, send)
            return
        request_id = new_request_id()
        watched = _Watched(send)
        started = time.perf_counter()
        self._requests += 1
        try:
            await self._serve(path, scope, receive, watched, request_id)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - every request is answered
            await self._refuse(error, request_id, receive, watched)
        finally:
            self._requests -= 1
            route = path if path in self._routes else _FORWARDED
            _observe(route, watched.status, time.perf_counter() - started)

    async def _serve(
        self, path: str, scope: Scope, receive: Receive, send: "_Watched", request_id: str
    ) -> None:
        if self._requests > REQUESTS_MAX:
            raise OverloadedError("Too many requests are under way.")
        route = self._routes.get(path)
        method: str = scope["method"]
        if route is None or (route.api_reads and method in {"GET", "HEAD"}):
            await forward(self._api, scope, receive, send, self._bodies)
            return
        if method != "POST":
            raise _NotAllowedError(("GET", "HEAD", "POST") if route.api_reads else ("POST",))
        access = await self._admitted(scope, route.scope)
        call = Call(
            workspace=access.workspace,
            headers=scope["headers"],
            query=scope["query_string"],
            receive=receive,
            bodies=self._bodies,
            request_id=request_id,
        )
        await send_reply(send, await route.handler(call), request_id)

    async def _admitted(self, scope: Scope, needed: str) -> Access:
        token = token_of(scope["headers"])
        access = None if token is None else await self._keys.find(token)
        if access is None:
            raise CutOffError(problems.unauthorized())
        if not access.allows(needed):
            raise CutOffError(problems.forbidden(needed))
        return access

    async def _refuse(
        self, error: Exception, request_id: str, receive: Receive, send: "_Watched"
    ) -> None:
        """Answer an error; one of ours is logged, one after the answer began ends the stream."""
        problem = problem_of(error)
        if problem is None:
            _log.error("A request failed", request_id=request_id, exc_info=error)
            problem = INTERNAL
        if send.status:
            raise error
        headers = error.headers() if isinstance(error, _NotAllowedError) else {}
        reply = problem_reply(problem, request_id, headers)
        if isinstance(error, CutOffError | OverloadedError):
            await _cut_off(reply, request_id, receive, send)
        else:
            await send_reply(send, reply, request_id)


_HEALTH: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class _NotAllowedError(CutOffError):
    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(problems.method_not_allowed(allowed))
        self._allowed: tuple[str, ...] = allowed

    def headers(self) -> dict[str, str]:
        return {"allow": ", ".join(self._allowed)}


class _Watched:
    """Sends, and knows the status of what was sent: 0 before anything was."""

    def __init__(self, send: Send) -> None:
        self._send: Send = send
        self.status: int = 0

    async def __call__(self, message: "Mapping[str, object]") -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            self.status = status if isinstance(status, int) else 0
        await self._send(dict(message))


async def _cut_off(reply: Reply, request_id: str, receive: Receive, send: _Watched) -> None:
    """Answer, listen a little longer so that the client can read the answer, and hang up."""
    await send(head(reply, request_id, closing=True))
    await send({"type": "http.response.body", "body": reply.body, "more_body": True})
    heard_bytes = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while heard_bytes < LINGER_BYTES_MAX:
                message = await receive()
                heard_bytes += len(message.get("body", b""))
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _observe(route: str, status: int, seconds: float) -> None:
    metrics.HTTP_REQUESTS.labels(route, status or HTTPStatus.INTERNAL_SERVER_ERROR).inc()
    metrics.HTTP_SECONDS.labels(route).observe(seconds)
