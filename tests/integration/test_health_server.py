"""The health server answers beside other work, and gives the reasons why a process is not ready."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import msgspec
import pytest

from services.runtime.health import HealthServer
from services.stack.ports import free_port


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What /readyz says."""

    ready: bool
    reasons: list[str]


async def test_readiness_follows_the_process() -> None:
    port, reasons = free_port(), ["the checkpoint is not loaded"]

    async with HealthServer(port, lambda: reasons):
        waiting = await _get(port, "/readyz")
        reasons.clear()
        ready = await _get(port, "/readyz")

    assert waiting[0] == 503
    assert msgspec.json.decode(waiting[1], type=Answer).reasons == ["the checkpoint is not loaded"]
    assert ready[0] == 200
    assert msgspec.json.decode(ready[1], type=Answer) == Answer(ready=True, reasons=[])


async def test_liveness_and_metrics_are_served() -> None:
    port = free_port()

    async with HealthServer(port, list):
        alive, measured = await _get(port, "/healthz"), await _get(port, "/metrics")

    assert (alive[0], measured[0]) == (200, 200)
    assert b"python_info" in measured[1]


async def test_a_taken_port_is_an_error_at_start() -> None:
    port = free_port()

    async with HealthServer(port, list):
        with pytest.raises(OSError, match="in use"):
            await HealthServer(port, list).start()


async def test_port_zero_serves_nothing() -> None:
    async with HealthServer(0, list) as off:
        await off.stop()


async def _get(port: int, path: str) -> tuple[int, bytes]:
    return await asyncio.to_thread(_get_now, f"http://127.0.0.1:{port}{path}")


def _get_now(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            return int(answer.status), bytes(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()
