"""Ask for an operation and follow it to its end.

Guarantee: what was asked for goes on whatever happens here; whoever stops looking is told how to
look again. Answers missed on the way (a restart of the api) do not end the following.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from contracts.administration import OperationVerb
from services.operations.client import Client, decoded
from services.operations.errors import CommandError, RefusedCallError, UnreachableError
from services.operations.screen import Screen

POLL_SECONDS: Final = 0.25
"""As often as the processor writes its progress down."""
UNTAKEN_SECONDS: Final = 10.0
"""A request not taken up for so long has probably no processor to take it up."""
MISSED_SECONDS: Final = 60.0
"""How long the api may be away: a supervisor restarts it within seconds."""
UNAVAILABLE: Final = (429, 502, 503, 504)


class RebuildProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an operation is, in records of all partitions."""

    generation: int | None = None
    applied_records: int = 0
    total_records: int = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an operation that failed."""

    reason: str


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation; ``report`` is its verb's own once it has ended, JSON null before."""

    id: str
    projection: str
    verb: str
    state: str
    progress: RebuildProgress
    report: msgspec.Raw


def carry_out(
    client: Client,
    screen: Screen,
    verb: OperationVerb,
    projection: str,
    *,
    generation: int | None = None,
    letters: Sequence[str] = (),
    emit_difference: bool = False,
) -> msgspec.Raw:
    """Ask for an operation, show how far it is, and return its report once it has succeeded.

    Raises:
        CommandError: it was refused, it failed, or looking at it ended early.
    """
    request: dict[str, object] = {"verb": verb, "projection": projection}
    if generation is not None:
        request["generation"] = generation
    if letters:
        request["letters"] = letters
    if emit_difference:
        request["emit_difference"] = True
    asked = decoded(client.post("/v1/operations", request), Operation)
    try:
        ended = _followed(client, screen, asked)
    except KeyboardInterrupt as stop:
        msg = f"Stopped looking. {_goes_on(client, asked)}"
        raise CommandError(msg) from stop
    if ended.state != "succeeded":
        raise CommandError(_failure(ended))
    return ended.report


def _followed(client: Client, screen: Screen, asked: Operation) -> Operation:
    with screen.progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} records"),
        TimeRemainingColumn(),
    ) as bar:
        task = bar.add_task(f"{asked.verb} {asked.projection}", total=0, start=False)
        untaken = _Once(lambda: screen.note(_untaken(asked)), after_seconds=UNTAKEN_SECONDS)
        present = asked
        while present.state not in {"succeeded", "failed"}:
            if present.state == "requested":
                untaken.look()
            elif present.progress.total_records:
                bar.start_task(task)
                done, total = present.progress.applied_records, present.progress.total_records
                bar.update(task, completed=done, total=total)
            time.sleep(POLL_SECONDS)
            present = _look(client, asked)
        return present


def _look(client: Client, asked: Operation) -> Operation:
    """Read the operation, through an absence of the api."""
    deadline = time.monotonic() + MISSED_SECONDS
    while True:
        try:
            return decoded(client.get(f"/v1/operations/{asked.id}"), Operation)
        except (UnreachableError, RefusedCallError) as error:
            refused = isinstance(error, RefusedCallError)
            if refused and error.problem.status not in UNAVAILABLE:
                raise
            if time.monotonic() > deadline:
                msg = f"{error}\n{_goes_on(client, asked)}"
                raise CommandError(msg) from error
            time.sleep(POLL_SECONDS)


class _Once:
    """Something to be done once, when a time has passed."""

    def __init__(self, act: Callable[[], None], *, after_seconds: float) -> None:
        self._act: Final = act
        self._due: float | None = time.monotonic() + after_seconds

    def look(self) -> None:
        """Do it if it is due."""
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            self._act()


def _goes_on(client: Client, asked: Operation) -> str:
    return (
        f"The operation {asked.id} goes on: `upshot projections` shows how far it is, and "
        f"GET {client.url}/v1/operations/{asked.id} answers its report."
    )


def _untaken(asked: Operation) -> str:
    return (
        f"No process of {asked.projection} has taken the request up yet. Is "
        f"`python -m {_module(asked.projection)}` running? Still waiting; Ctrl-C stops looking."
    )


def _module(projection: str) -> str:
    return "services.dispatcher" if projection == "dispatcher" else f"projections.{projection}"


def _failure(ended: Operation) -> str:
    return (
        f"{ended.verb} of {ended.projection} failed: {_reason(ended.report)}. `upshot projections` "
        f"shows the generations that stand (operation {ended.id})."
    )


def _reason(report: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(report, type=Failure).reason
    except msgspec.DecodeError:
        return bytes(report).decode(errors="replace")
