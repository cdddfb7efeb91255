"""/healthz, /readyz and /metrics of this process, open to all."""

import msgspec

from services.api.call import Call, Reply
from services.api.routes import TEXT, Answers, Route
from services.runtime import metrics

TAG = "Health"


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    alive: bool = True


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the process can do its work, and why not."""

    ready: bool
    reasons: list[str]


async def healthz(_call: Call) -> Reply:
    """Say that the loop turns."""
    return Reply(value=Alive())


async def readyz(call: Call) -> Reply:
    """Say whether Postgres answers and the log can be appended to; 503 with reasons if not."""
    reasons = await call.api.readiness()
    return Reply(value=Ready(ready=not reasons, reasons=reasons), status=503 if reasons else 200)


async def exposition(_call: Call) -> Reply:
    """Every metric in Prometheus' text format."""
    return Reply(raw=metrics.exposition(), media=metrics.EXPOSITION_TYPE)


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/healthz",
        tag=TAG,
        summary="Is the process alive",
        answers=Answers(description="It is.", kind=Alive),
        call=healthz,
    ),
    Route(
        method="GET",
        path="/readyz",
        tag=TAG,
        summary="Can the process do its work",
        answers=Answers(description="It can.", kind=Ready),
        problems=(503,),
        call=readyz,
    ),
    Route(
        method="GET",
        path="/metrics",
        tag=TAG,
        summary="Metrics in Prometheus' text format",
        answers=Answers(description="One metric a line.", media=TEXT),
        call=exposition,
    ),
)
