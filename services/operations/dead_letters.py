"""`upshot dead-letters`: what the projections could not apply, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from services.operations.client import decoded, decoded_rows, segment
from services.operations.options import Json, Key, Limit, Url, open_client
from services.operations.screen import Screen, instant

Of = Annotated[
    str | None, typer.Option("--projection", metavar="NAME", help="Only this projection's.")
]
LetterId = Annotated[str, typer.Argument(metavar="ID", help="Id, as `dead-letters list` shows it.")]

app = typer.Typer(no_args_is_help=True, help="See what could not be applied.")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that a projection could not apply; ``record`` is empty in a list."""

    id: str
    projection: str
    position: str
    at: datetime
    reason: str
    detail: str
    record_id: str | None = None
    type: str | None = None
    record: msgspec.Raw = msgspec.Raw()


@app.command("list")
def list_dead_letters(
    *,
    projection: Of = None,
    limit: Limit = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the dead letters of the live generations."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    rows = client.rows("/v1/dead-letters", {"projection": projection}, limit)
    screen.json_list(rows)
    found = decoded_rows(rows, DeadLetter)
    if not found:
        screen.say("No dead letters.")
        return
    screen.table(
        ("id", "position", "at", "type", "reason", "detail"),
        [
            (each.id, each.position, instant(each.at), each.type, each.reason, each.detail)
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
        ("record id", found.record_id),
        ("type", found.type),
        ("reason", found.reason),
        ("detail", found.detail),
    ):
        screen.say(f"{name:<11} {'-' if value is None else value}")
    if bytes(found.record):
        screen.say(msgspec.json.format(bytes(found.record), indent=2).decode())
