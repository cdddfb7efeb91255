"""`upshot events tail`: the workspace's activity log as it grows.

Guarantee: every entry from the start on is shown once, in the order of the stream: one that breaks
off is taken up again behind the last entry that was shown (`Last-Event-ID`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from datetime import datetime
from typing import Final

import msgspec

from services.operations.client import Client, decoded
from services.operations.errors import RefusedCallError, UnreachableError
from services.operations.options import Json, Key, Url, open_client
from services.operations.screen import Screen, instant

STREAM: Final = "/v1/activity/stream"
EVENT_STREAM: Final = "text/event-stream"
PAUSE_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 300.0
"""How long nothing may answer before the tail gives up."""
UNAVAILABLE: Final = (429, 502, 503, 504)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the activity log, as far as it is shown."""

    id: str
    kind: str
    occurred_at: datetime
    customer: str | None = None
    caused_by: str | None = None


class ServerSentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream; ``id`` is what to go on behind. Without content it is only that."""

    id: str
    content: str


def tail(*, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show what happens from now on, until Ctrl-C. With --json one JSON document a line."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    try:
        for found in _followed(client, screen):
            screen.json(msgspec.Raw(found.content.encode()))
            entry = decoded(msgspec.Raw(found.content.encode()), Entry)
            screen.say(
                f"{instant(entry.occurred_at)}  {entry.kind:<40} {entry.customer or '-'}  "
                f"{entry.caused_by or '-'}"
            )
    except KeyboardInterrupt:
        return


def _followed(client: Client, screen: Screen) -> Generator[ServerSentEvent]:
    """Every event, through breaks of the stream; raises once nothing answers any more."""
    last_id, answered_at = "", None
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            for found in read_events(client.lines(STREAM, {"Accept": EVENT_STREAM, **headers})):
                last_id, answered_at = found.id or last_id, time.monotonic()
                if found.content:
                    yield found
            answered_at = time.monotonic()
        except (UnreachableError, RefusedCallError) as error:
            if isinstance(error, RefusedCallError) and error.problem.status not in UNAVAILABLE:
                raise
            if answered_at is None or time.monotonic() > answered_at + AWAY_SECONDS:
                raise
            screen.note("The stream broke off; taking it up again.")
        time.sleep(PAUSE_SECONDS)


def read_events(lines: Iterable[str]) -> Generator[ServerSentEvent]:
    """Read server-sent events (HTML Living Standard, 9.2.6); comments and retries are passed over.

    An event that the end of the stream cuts off is not one.
    """
    last_id, parts, has_id = "", list[str](), False
    for line in lines:
        if not line:
            if parts or has_id:
                yield ServerSentEvent(id=last_id, content="\n".join(parts))
            parts, has_id = [], False
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            parts.append(value)
        elif field == "id" and "\0" not in value:
            last_id, has_id = value, True
