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
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.bodies import Bodies, ClientGoneError, CutOffError
from services.gateway.bounds import LINGER_BYTES_MAX, LINGER_SECONDS, REQUESTS_MAX
from services.gateway.errors import INTERNAL, log_failure, problem_of
from services.gateway.forward import forward
from services.gateway.handling import Call, Handler
from services.gateway.replies import WHOLE_REPLY, Reply, SendWhole, head, problem_reply
from services.runtime import metrics, problems
from services.runtime.access import Access, KeyStore, token_of
from services.runtime.logging import logger
from services.runtime.loopback import Loopback, LoopbackError
from services.runtime.problems import new_request_id

_log = logger(__name__)
_FAILED: Final = HTTPStatus.INTERNAL_SERVER_ERROR.value
_FORWARDED: Final = "forwarded"
_HEALTH: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_TOO_MANY: Final = problems.rate_limited("Too many requests are under way.")
_READS: Final = frozenset({"GET", "HEAD"})
_UNDERSTOOD: Final = frozenset(
    {
        b"authorization",
        b"x-app-token",
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"idempotency-key",
        b"upshot-definitions-revision",
    }
)


class NotAllowedError(CutOffError):
    """A method that a path does not have."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(problems.method_not_allowed(allowed))
        self._allowed: tuple[str, ...] = allowed

    def headers(self) -> dict[str, str]:
        """What the answer says besides."""
        return {"allow": ", ".join(self._allowed)}


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
        self._measures: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        assert scope["type"] == "http", "the server is told to serve nothing else"
        # Taken out: it knows the request, and a circle of the two would wait for the collector.
        whole: SendWhole = scope.pop("extensions")[WHOLE_REPLY]["send"]
        path: str = scope["path"]
        if path in _HEALTH:
            await self._health(scope, receive, send)
            return
        request_id = new_request_id()
        started = time.perf_counter()
        status = _FAILED
        self._requests += 1
        try:
            if self._requests > REQUESTS_MAX:
                raise CutOffError(_TOO_MANY)  # noqa: TRY301
            route = self._routes.get(path)
            method: str = scope["method"]
            if route is None or (route.api_reads and method in _READS):
                status = await forward(self._api, scope, receive, send, self._bodies)
            else:
                reply = await self._serve(route, scope, receive, request_id)
                status = reply.status
                await whole(reply, request_id)
        except ClientGoneError:
            return
        except LoopbackError:
            _log.warning("The api broke off in the middle of an answer", request_id=request_id)
            raise
        except Exception as error:  # noqa: BLE001 - every request is answered
            status = await _refuse(error, request_id, receive, send, whole)
        finally:
            self._requests -= 1
            self._observe(path, status, time.perf_counter() - started)

    async def _serve(self, route: Route, scope: Scope, receive: Receive, request_id: str) -> Reply:
        """Serve a path of the gateway's own."""
        if scope["method"] != "POST":
            raise NotAllowedError(("GET", "HEAD", "POST") if route.api_reads else ("POST",))
        headers = [header for header in scope["headers"] if header[0] in _UNDERSTOOD]
        access = await self._admitted(headers, route.scope)
        call = Call(
            workspace=access.workspace,
            headers=headers,
            query=scope["query_string"],
            receive=receive,
            bodies=self._bodies,
            request_id=request_id,
        )
        return await route.handler(call)

    async def _admitted(self, headers: list[tuple[bytes, bytes]], needed: str) -> Access:
        token = token_of(headers)
        access = None if token is None else await self._keys.find(token)
        if access is None:
            raise CutOffError(problems.unauthorized())
        if not access.allows(needed):
            raise CutOffError(problems.forbidden(needed))
        return access

    def _observe(self, path: str, status: int, seconds: float) -> None:
        name = path if path in self._routes else _FORWARDED
        measures = self._measures.get((name, status))
        if measures is None:
            measures = self._measures[name, status] = (
                metrics.HTTP_REQUESTS.labels(name, int(status)),
                metrics.HTTP_SECONDS.labels(name),
            )
        measures[0].inc()
        measures[1].observe(seconds)


async def _refuse(
    error: Exception, request_id: str, receive: Receive, send: Send, whole: SendWhole
) -> int:
    """Answer an error with its problem, one of ours with a log; answers the status."""
    headers = error.headers() if isinstance(error, NotAllowedError) else {}
    try:
        problem = problem_of(error)
        if problem is None:
            log_failure(error, request_id)
            problem = INTERNAL
        reply = problem_reply(problem, request_id, headers)
    except Exception as failure:  # noqa: BLE001 - a refusal that cannot be spelled is one of ours
        log_failure(failure, request_id)
        reply = problem_reply(INTERNAL, request_id, headers)
    if isinstance(error, CutOffError):
        await _cut_off(reply, request_id, receive, send)
    else:
        await whole(reply, request_id)
    return reply.status


async def _cut_off(reply: Reply, request_id: str, receive: Receive, send: Send) -> None:
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
