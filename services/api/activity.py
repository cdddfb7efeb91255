"""The workspace's activity log: a page of it, and a stream of what is new.

Guarantee: a stream tells each entry once, from the moment it was opened on; it ends by itself, and
browsers open it again.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Final

from contracts.codec import encode
from projections.customers.queries import ActivityEntry, ActivityPage, workspace_activity
from services.api.call import CURSOR, LIMIT, Call, Reply
from services.api.progress import NoReadModelError
from services.api.routes import EVENT_STREAM, Answers, Route
from services.runtime.postgres import DatabaseUnavailableError
from services.runtime.problems import ProblemError, rate_limited

TAG: Final = "Activity"
POLL_SECONDS: Final = 0.25
"""Between two looks of a stream at the read model."""
BEAT_SECONDS: Final = 15.0
"""An idle stream says so this often, so that proxies keep it open."""
STREAM_SECONDS: Final = 3600.0
"""A stream ends after this long."""
STREAMS_MAX: Final = 64
"""Streams at once: each asks Postgres four times a second."""
PAGE_MAX: Final = 200
PAGES_MAX: Final = 5
"""Pages that one look reads: what exceeds them between two looks is not told."""
SEEN_MAX: Final = 10_000
"""Entries remembered as told."""

_open_streams: set[object] = set()


async def list_activity(call: Call) -> Reply:
    """What happened in the workspace, newest first."""
    async with call.session() as session:
        live = await call.api.progress.live(session, "customers")
        found = await workspace_activity(
            session, live.schema, call.workspace, limit=call.limit(), cursor=call.text("cursor")
        )
    return Reply(value=found)


async def stream_activity(call: Call) -> Reply:
    """What happens in the workspace from now on, as server-sent events."""
    if len(_open_streams) >= STREAMS_MAX:
        raise ProblemError(rate_limited(f"More than {STREAMS_MAX} streams at once."))
    seen: OrderedDict[str, None] = OrderedDict()
    await _new_entries(call, seen)
    headers = (("cache-control", "no-store"), ("x-accel-buffering", "no"))
    return Reply(stream=_told(call, seen), media=EVENT_STREAM, headers=headers)


async def _told(call: Call, seen: OrderedDict[str, None]) -> AsyncGenerator[bytes]:
    token = object()
    _open_streams.add(token)
    try:
        ends_at = time.monotonic() + STREAM_SECONDS
        beat_at = time.monotonic() + BEAT_SECONDS
        yield b": open\n\n"
        while time.monotonic() < ends_at:
            await asyncio.sleep(POLL_SECONDS)
            try:
                entries = await _new_entries(call, seen)
            except (DatabaseUnavailableError, NoReadModelError):
                continue
            for entry in entries:
                yield b"id: %s\nevent: activity\ndata: %s\n\n" % (entry.id.encode(), encode(entry))
            if time.monotonic() > beat_at:
                beat_at = time.monotonic() + BEAT_SECONDS
                yield b": beat\n\n"
    finally:
        _open_streams.discard(token)


async def _new_entries(call: Call, seen: OrderedDict[str, None]) -> list[ActivityEntry]:
    """What is not among those seen, oldest first; it is among them afterwards."""
    fresh: list[ActivityEntry] = []
    cursor: str | None = None
    async with call.session() as session:
        live = await call.api.progress.live(session, "customers")
        for _ in range(PAGES_MAX if seen else 1):
            found = await workspace_activity(
                session, live.schema, call.workspace, limit=PAGE_MAX, cursor=cursor
            )
            unseen = [each for each in found.data if each.id not in seen]
            fresh += unseen
            cursor = found.next_cursor
            if cursor is None or len(unseen) < len(found.data):
                break
    fresh.reverse()
    for entry in fresh:
        seen[entry.id] = None
    while len(seen) > SEEN_MAX:
        seen.popitem(last=False)
    return fresh


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/activity",
        tag=TAG,
        summary="List what happened in the workspace",
        scopes=("customers:read",),
        query=(LIMIT, CURSOR),
        answers=Answers(description="Newest first.", kind=ActivityPage),
        projection="customers",
        call=list_activity,
    ),
    Route(
        method="GET",
        path="/v1/activity/stream",
        tag=TAG,
        summary="Follow what happens in the workspace",
        scopes=("customers:read",),
        answers=Answers(
            description="Server-sent events: `data` is an entry of the activity log.",
            media=EVENT_STREAM,
        ),
        projection="customers",
        call=stream_activity,
    ),
)
