"""One attempt of a delivery, its stages as types: claimed, prepared, attempted, settled.

Guarantee: every attempt ends in a settlement, whatever the receiver or its address does. Each
attempt of a message bears the same id and body bytes; its time and signature are its own.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from yarl import URL

from contracts.definitions.endpoints import Endpoint
from services.dispatcher.claims import Claimed, Settlement
from services.dispatcher.endpoint_secrets import EndpointKeys
from services.dispatcher.retry_schedule import (
    EndpointGone,
    Exhausted,
    Schedule,
    Succeeded,
    TryAgain,
    judge,
    retry_after_seconds,
)
from services.runtime.egress import (
    Answer,
    ConnectionLostError,
    Egress,
    EgressError,
    UnusableUrlError,
    parse_url,
)

QUICK_TRIES: Final = 3
"""More tries within one attempt when the connection is lost: the first at once, since a kept
connection may have been closed while idle, the others for a receiver that restarts."""
QUICK_WAIT_SECONDS: Final = 0.2
"""Before the second of them; then doubled. All tries share the attempt's one deadline."""
USER_AGENT: Final = "Upshot/1.0 (+standard-webhooks)"
_FIXED_HEADERS: Final = {"content-type": "application/json", "user-agent": USER_AGENT}


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery ready to be sent: where to, with which headers."""

    claimed: Claimed
    url: URL
    headers: Mapping[str, str]
    at: datetime


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt came to: an answer, or why there was none."""

    claimed: Claimed
    at: datetime
    duration_ms: int
    answer: Answer | None
    error: str | None


def prepare(
    claimed: Claimed, endpoint: Endpoint | None, keys: EndpointKeys | None, at: datetime
) -> Prepared | Attempted:
    """Sign and address a delivery; ends it there where that is impossible."""
    if endpoint is None:
        return _unsent(claimed, at, "the endpoint is not defined")
    if keys is None:
        return _unsent(claimed, at, "the endpoint has no secret")
    try:
        url = parse_url(endpoint.url)
    except UnusableUrlError:
        return _unsent(claimed, at, "the endpoint's URL cannot be used")
    own = {name: keys.headers[name] for name in endpoint.header_digests if name in keys.headers}
    signed = keys.signer.headers(claimed.message, at, claimed.body.decode())
    return Prepared(claimed=claimed, url=url, headers={**_FIXED_HEADERS, **own, **signed}, at=at)


async def attempt(egress: Egress, prepared: Prepared) -> Attempted:
    """Send a delivery, trying again at once (and soon) only where the connection was lost."""
    started = time.monotonic()
    answer, error = None, None
    try:
        answer = await _post(egress, prepared, started)
    except EgressError as failure:
        error = str(failure)
    return Attempted(
        claimed=prepared.claimed,
        at=prepared.at,
        duration_ms=round((time.monotonic() - started) * 1000),
        answer=answer,
        error=error,
    )


def conclude(
    attempted: Attempted, schedule: Schedule, *, now: datetime, randomness: float
) -> Settlement:
    """Decide what becomes of a delivery after an attempt."""
    claimed, answer = attempted.claimed, attempted.answer
    asked = None if answer is None else retry_after_seconds(answer.retry_after, now)
    verdict = judge(
        schedule,
        attempts_made=claimed.attempts_made + 1,
        status=None if answer is None else answer.status,
        retry_after_seconds=asked,
        randomness=randomness,
    )
    wait_seconds = 0.0
    match verdict:
        case Succeeded():
            state = "succeeded"
        case TryAgain(wait_seconds):
            state = "pending"
        case Exhausted():
            state = "exhausted"
        case EndpointGone():
            state = "disabled"
    return Settlement(
        delivery=claimed.delivery,
        endpoint=claimed.endpoint,
        state=state,
        wait_seconds=wait_seconds,
        at=attempted.at,
        duration_ms=attempted.duration_ms,
        status=None if answer is None else answer.status,
        answer=b"" if answer is None else answer.body,
        error=attempted.error,
        is_gone=isinstance(verdict, EndpointGone),
    )


def broken(claimed: Claimed, at: datetime, error: Exception) -> Attempted:
    """End an attempt that failed in a way nobody foresaw; the schedule bounds how often it may."""
    return _unsent(claimed, at, f"the attempt broke: {type(error).__name__}")


async def _post(egress: Egress, prepared: Prepared, started: float) -> Answer:
    body, url, headers = prepared.claimed.body, prepared.url, prepared.headers
    try:
        return await egress.post(url, body, headers, started=started)
    except ConnectionLostError:
        quick = AsyncRetrying(
            retry=retry_if_exception_type(ConnectionLostError),
            stop=stop_after_attempt(QUICK_TRIES),
            wait=wait_exponential(multiplier=QUICK_WAIT_SECONDS),
            reraise=True,
        )
        return await quick(egress.post, url, body, headers, started=started)


def _unsent(claimed: Claimed, at: datetime, error: str) -> Attempted:
    return Attempted(claimed=claimed, at=at, duration_ms=0, answer=None, error=error)
