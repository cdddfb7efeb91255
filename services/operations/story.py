"""Shows, as it happens, what each event caused: timeline entries, points, webhooks.

Ids and kinds only; a profile or a payload is not for a terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from urllib.parse import quote

import msgspec
from rich.console import Console

from services.operations.screen import Screen
from services.stack.local_api import LocalApi, LocalCallError
from services.stack.receiver import Received

POLL_SECONDS = 0.25  # well within the second that a person waits
SEEN_MAX = 10_000  # entries; beyond it a very old one could be shown twice
WATCHED_SECONDS = 5.0  # points come from another processor, a moment after the timeline
WATCHED_MAX = 5  # customers asked for at once; under load the story is a sample
LINES_PER_SECOND_MAX = 30  # as fast as a person could scroll past
PROGRAM = "rewards"


class EntryData(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry says, as far as it is shown."""

    event: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the workspace's activity log, as far as it is shown."""

    id: str
    kind: str
    customer: str | None = None
    caused_by: str | None = None
    data: EntryData = EntryData()


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the activity log, newest first."""

    data: list[Entry]


class Earned(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger entry, as far as it is shown."""

    id: str
    kind: str
    points: int
    rule: str | None = None
    caused_by: str | None = None


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a member's ledger, newest first."""

    data: list[Earned]


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the story, for a program; ``what`` is timeline, points or webhook."""

    what: str
    kind: str
    detail: str
    caused_by: str


class Story:
    """Follows one workspace through its front door."""

    def __init__(self, console: Console, api: LocalApi, screen: Screen) -> None:
        self._console = console
        self._api = api
        self._screen = screen
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._causes: OrderedDict[str, None] = OrderedDict()
        self._watched: dict[str, float] = {}
        self._second = self._shown = self._unshown = 0

    async def follow(self) -> None:
        """Show what happens from now on, until cancelled."""
        knows_the_past = False
        while True:
            try:
                await self._look(show=knows_the_past)
                knows_the_past = True
            except LocalCallError:
                pass  # the supervisor reports what is down; the story goes on after it
            await asyncio.sleep(POLL_SECONDS)

    def show_webhook(self, received: Received) -> None:
        """Show a webhook that the local receiver took."""
        cause = received.data.event.id if received.data.event else "-"
        self._line("webhook", received.type, f"{received.id}, signature good", cause)

    async def _look(self, *, show: bool) -> None:
        page = await self._api.get("/v1/activity?limit=100", Activity)
        fresh = [entry for entry in reversed(page.data) if self._is_new(entry.id)]
        if not show:
            return
        now = time.monotonic()
        for entry in fresh:
            cause = entry.caused_by or entry.data.event or entry.id
            self._line("timeline", entry.kind, entry.customer or "-", cause)
            self._causes[cause] = None
            if entry.customer and len(self._watched) < WATCHED_MAX:
                self._watched[entry.customer] = now + WATCHED_SECONDS
        while len(self._causes) > SEEN_MAX:
            self._causes.popitem(last=False)
        self._watched = {who: until for who, until in self._watched.items() if until > now}
        for customer in self._watched:
            await self._show_points(customer)

    async def _show_points(self, customer: str) -> None:
        path = f"/v1/loyalty/{PROGRAM}/members/{quote(customer)}/entries"
        ledger = await self._api.get(path, Ledger)
        for entry in reversed(ledger.data):
            if entry.caused_by in self._causes and self._is_new(entry.id):
                rule = f" by rule {entry.rule}" if entry.rule else ""
                self._line("points", entry.kind, f"{entry.points:+d}{rule}", entry.caused_by or "-")

    def _is_new(self, entry_id: str) -> bool:
        if entry_id in self._seen:
            return False
        self._seen[entry_id] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return True

    def _line(self, what: str, kind: str, detail: str, cause: str) -> None:
        """Print a line, or count it when this second has had enough; a program gets them all."""
        self._screen.json(Happening(what=what, kind=kind, detail=detail, caused_by=cause))
        second = int(time.monotonic())
        if second != self._second:
            if self._unshown:
                self._console.print(f"  ... and {self._unshown} more", style="dim")
            self._second, self._shown, self._unshown = second, 0, 0
        if self._shown >= LINES_PER_SECOND_MAX:
            self._unshown += 1
            return
        self._shown += 1
        self._console.print(f"  {what:<9} {kind:<28} {detail}  <- {cause}", markup=False)
