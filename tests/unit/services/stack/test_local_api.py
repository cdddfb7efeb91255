"""What a start makes of a process that is not ready."""

from __future__ import annotations

import asyncio

import pytest

from services.runtime.health import HealthServer
from services.stack.local_api import answers_ready, waits_for_definitions_alone
from services.stack.ports import free_port

ODD = "event_type odd of demo (record 3) is not understood: /colour: is unknown"


@pytest.mark.parametrize(
    ("reasons", "goes_on"), [([], False), ([ODD], True), ([ODD, "is starting"], False)]
)
async def test_definitions_that_are_not_understood_hold_no_start_up(
    reasons: list[str], goes_on: bool
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async with HealthServer(port, lambda: reasons):
        found = await asyncio.to_thread(waits_for_definitions_alone, url)
        ready = await asyncio.to_thread(answers_ready, url)

    assert (found, ready) == (goes_on, not reasons)
