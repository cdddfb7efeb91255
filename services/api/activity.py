"""The workspace's activity log: a page of it, and a stream of what is new.

Guarantee: a stream tells each entry once. The id of each of its events is the place behind it: who
opens the stream again with ``Last-Event-ID`` misses nothing and is told nothing twice, at whatever
process. A stream ends by itself, and browsers open it again.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

from psycopg.errors import UndefinedTable

from contracts.codec import encode
from projections.customers.queries import (
    ActivityPage,
    NewActivity,
    new_activity,
    workspace_activity,
)
from services.api.call import CURSOR, LIMIT, Call, Reply
from services.api.progress import NoReadModelError
from services.api.routes import EVENT_STREAM, Answers, Param, Route
from services.runtime.postgres import DatabaseUnavailableError

TAG: Final = "Activity"
POLL_SECONDS: Final = 0.25
"""Between two looks of a stream at the read model."""
BEAT_SECONDS: Final = 15.0
"""An idle stream says where it stands this often, so that proxies keep it open."""
STREAM_SECONDS: Final = 600.0
"""A stream ends after this long, so that a key that was revoked does not read on for ever."""
ENTRIES_MAX: Final = 100
"""Entries read at once: what a stream holds in memory."""
PLACE_CHARS_MAX: Final = 32 * 1024
"""Of a place in a log of 1,024 partitions, the most there are."""
LAST_EVENT_ID: Final = Param(
    name="Last-Event-ID",
    description="Id of the last event that was read: the stream goes on behind it.",
    chars_max=PLACE_CHARS_MAX,
    blank_is_absent=True,
)


async def list_activity(call: Call) -> Reply:
    """What happened in the workspace, newest first."""
    async with call.session() as session:
        live = await call.api.progress.live(session, "customers")
        found = await workspace_activity(
            session, live.schema, call.workspace, limit=call.limit(), cursor=call.text("cursor")
        )
    return Reply(value=found)


async def stream_activity(call: Call) -> Reply:
    """What happens in the workspace from now or a place on, as server-sent events."""
    call.api.streams.take(call.workspace)
    try:
        found = await _look(call, call.text(LAST_EVENT_ID.name))
    except BaseException:
        call.api.streams.leave(call.workspace)
        raise
    headers = (("cache-control", "no-store"), ("x-accel-buffering", "no"))
    return Reply(stream=_told(call, found), media=EVENT_STREAM, headers=headers)


async def _told(call: Call, found: NewActivity) -> AsyncGenerator[bytes]:
    """Tell what is new from ``found`` on; the seat is given back at the end."""
    try:
        ends_at = time.monotonic() + STREAM_SECONDS
        beat_at = 0.0
        yield b": open\n"
        while time.monotonic() < ends_at:
            for new in found.entries:
                content = encode(new.entry)
                yield b"id: %s\nevent: activity\ndata: %s\n\n" % (new.place.encode(), content)
            if time.monotonic() > beat_at:
                beat_at = time.monotonic() + BEAT_SECONDS
                yield b"id: %s\n\n" % found.place.encode()
            if not found.has_more:
                await asyncio.sleep(POLL_SECONDS)
            found = await _look_again(call, found.place)
    finally:
        call.api.streams.leave(call.workspace)


async def _look_again(call: Call, place: str) -> NewActivity:
    """Look; while there is nothing to look at, nothing is new."""
    try:
        return await _look(call, place)
    except (DatabaseUnavailableError, NoReadModelError, UndefinedTable):
        return NewActivity(entries=[], place=place, has_more=False)


async def _look(call: Call, place: str | None) -> NewActivity:
    async with call.session() as session:
        live = await call.api.progress.live(session, "customers")
        return await new_activity(session, live.schema, call.workspace, place, limit=ENTRIES_MAX)


_read = partial(Route, method="GET", tag=TAG, scopes=("customers:read",), projection="customers")

ROUTES: tuple[Route, ...] = (
    _read(
        path="/v1/activity",
        summary="List what happened in the workspace",
        query=(LIMIT, CURSOR),
        answers=Answers(description="Newest first.", kind=ActivityPage),
        call=list_activity,
    ),
    _read(
        path="/v1/activity/stream",
        summary="Follow what happens in the workspace",
        headers=(LAST_EVENT_ID,),
        answers=Answers(
            description="Server-sent events: `data` is an entry of the activity log. "
            "An event without `data` says only how far the stream is.",
            media=EVENT_STREAM,
        ),
        call=stream_activity,
    ),
)
