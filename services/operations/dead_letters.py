"""`upshot dead-letters`: what the projections could not apply, and putting that right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, Final, Literal

import msgspec
import typer

from services.operations.client import Client, decoded, decoded_rows, segment
from services.operations.errors import FAILURE
from services.operations.following import carry_out
from services.operations.options import Json, Key, Limit, Url, open_client
from services.operations.screen import Screen, instant

Of = Annotated[
    str | None, typer.Option("--projection", metavar="NAME", help="Only this projection's.")
]
LetterId = Annotated[str, typer.Argument(metavar="ID", help="Id, as `dead-letters list` shows it.")]
LetterIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Ids, as `dead-letters list` shows.")
]
EveryState = Annotated[bool, typer.Option("--all", help="Also redriven and discarded ones.")]
EveryLetter = Annotated[bool, typer.Option("--all", help="All that are open now.")]
LETTERS_MAX: Final = 500
"""Dead letters of one request, as the api takes them."""

app = typer.Typer(no_args_is_help=True, help="See what could not be applied, and put it right.")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that a projection could not apply; ``record`` is empty in a list."""

    id: str
    projection: str
    position: str
    at: datetime
    reason: str
    detail: str
    state: str
    ended_position: str | None = None
    record_id: str | None = None
    type: str | None = None
    record: msgspec.Raw = msgspec.Raw()


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that could not be ended so, and why."""

    letter: str
    reason: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of dead letters; ``died_again`` are the new ones of those that failed again."""

    ended: list[str] = []
    died_again: list[str] = []
    not_open: list[str] = []
    refused: list[Refusal] = []


@app.command("list")
def list_dead_letters(
    *,
    projection: Of = None,
    every: EveryState = False,
    limit: Limit = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the open dead letters of the live generations."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    query = {"projection": projection, "state": None if every else "open"}
    rows = client.rows("/v1/dead-letters", query, limit)
    screen.json_list(rows)
    found = decoded_rows(rows, DeadLetter)
    if not found:
        screen.say("No dead letters.")
        return
    screen.table(
        ("id", "state", "at", "type", "reason", "detail"),
        [
            (each.id, each.state, instant(each.at), each.type, each.reason, each.detail)
            for each in found
        ],
    )


@app.command("show")
def show_dead_letter(
    letter: LetterId, *, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Show one dead letter with its record."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    answer = client.get(f"/v1/dead-letters/{segment(letter)}")
    screen.json(msgspec.Raw(answer))
    found = decoded(answer, DeadLetter)
    for name, value in (
        ("id", found.id),
        ("projection", found.projection),
        ("position", found.position),
        ("at", instant(found.at)),
        ("state", found.state),
        ("ended by", found.ended_position),
        ("record id", found.record_id),
        ("type", found.type),
        ("reason", found.reason),
        ("detail", found.detail),
    ):
        screen.say(f"{name:<11} {'-' if value is None else value}")
    if bytes(found.record):
        screen.say(msgspec.json.format(bytes(found.record), indent=2).decode())


@app.command("redrive")
def redrive_dead_letters(
    letters: LetterIds = None,
    *,
    every: EveryLetter = False,
    projection: Of = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Have records applied after all, by the projection that could not: they are appended again.

    What fails again is a new dead letter. Mend the code or the definition first.
    """
    _named_or_all(letters, projection, every=every)
    client, screen = open_client(url, key), Screen(as_json=as_json)
    _end(client, screen, "redrive", letters or _open(client, projection))


@app.command("discard")
def discard_dead_letters(
    letters: LetterIds = None,
    *,
    every: EveryLetter = False,
    projection: Of = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Say that the projection need never apply these records; its rebuilds pass over them too."""
    _named_or_all(letters, projection, every=every)
    client, screen = open_client(url, key), Screen(as_json=as_json)
    _end(client, screen, "discard", letters or _open(client, projection))


def _named_or_all(letters: Sequence[str] | None, projection: str | None, *, every: bool) -> None:
    if bool(letters) is every or (letters and projection):
        raise typer.BadParameter(
            "name dead letters, or say --all (of one projection: --projection)", param_hint="ID"
        )


def _open(client: Client, projection: str | None) -> list[str]:
    rows = client.rows("/v1/dead-letters", {"projection": projection, "state": "open"}, None)
    return [each.id for each in decoded_rows(rows, DeadLetter)]


def _end(
    client: Client, screen: Screen, verb: Literal["redrive", "discard"], letters: Sequence[str]
) -> None:
    """Ask for it, a request of each projection at a time, and tell what became of all."""
    total = Ended()
    for projection, named in _requests(letters):
        report = carry_out(client, screen, verb, projection, letters=named)
        ended = decoded(report, Ended)
        total = Ended(
            ended=total.ended + ended.ended,
            died_again=total.died_again + ended.died_again,
            not_open=total.not_open + ended.not_open,
            refused=total.refused + ended.refused,
        )
    screen.json(total)
    _tell(screen, "redriven" if verb == "redrive" else "discarded", total)
    if total.refused or total.died_again:
        raise typer.Exit(FAILURE)


def _requests(letters: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for projection, group in groupby(sorted(letters), key=lambda each: each.partition(".")[0]):
        named = list(group)
        for first in range(0, len(named), LETTERS_MAX):
            yield projection, named[first : first + LETTERS_MAX]


def _tell(screen: Screen, done: str, total: Ended) -> None:
    count = len(total.ended)
    screen.say(
        "1 dead letter is " + done + "." if count == 1 else f"{count} dead letters are {done}."
    )
    if total.not_open:
        screen.say(f"Not open any more: {', '.join(total.not_open)}.")
    for each in total.died_again:
        screen.note(f"One failed again: `upshot dead-letters show {each}` says why.")
    for refusal in total.refused:
        screen.note(f"{refusal.letter}: {refusal.reason}.")
