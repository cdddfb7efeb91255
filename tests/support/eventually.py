"""Wait for what must come true, with a deadline instead of a sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

DEADLINE_SECONDS = 10.0
PAUSE_SECONDS = 0.02


@overload
async def eventually(
    check: Callable[[], Awaitable[T | None]], deadline_seconds: float = DEADLINE_SECONDS
) -> T: ...
@overload
async def eventually(
    check: Callable[[], T | None], deadline_seconds: float = DEADLINE_SECONDS
) -> T: ...
async def eventually(
    check: Callable[[], object], deadline_seconds: float = DEADLINE_SECONDS
) -> object:
    """Call ``check`` until it returns something other than None and False, and return that.

    Args:
        check: plain or async; an AssertionError counts as "not yet".
        deadline_seconds: after it the last AssertionError is raised.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        try:
            found = check()
            value = await found if inspect.isawaitable(found) else found
            assert value is not None and value is not False, f"not true within {deadline_seconds} s"
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return value


def eventually_sync(check: Callable[[], T | None], deadline_seconds: float = DEADLINE_SECONDS) -> T:
    """Do the same in a test without an event loop."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        try:
            value = check()
            assert value is not None and value is not False, f"not true within {deadline_seconds} s"
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return value
