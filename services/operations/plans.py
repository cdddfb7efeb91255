"""Definitions sent from a file, and the plan that comes back: what is made, changed, left."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import typer

from services.operations.client import JSON, YAML, Client, decoded, target
from services.operations.errors import CommandError
from services.operations.screen import Screen

STDIN: Final = "-"
Compatibility = Literal["stored", "none"]

File = Annotated[
    str,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="Documents {kind, name, spec}: YAML or JSON; - is stdin.",
    ),
]
CompatibilityOption = Annotated[
    Compatibility,
    typer.Option("--compatibility", help="none: event types may refuse what is stored already."),
]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One field that differs."""

    pointer: str
    change: Literal["added", "removed", "changed"]
    old: msgspec.Raw = msgspec.Raw(b"null")
    new: msgspec.Raw = msgspec.Raw(b"null")


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A definition of the plan; ``secret`` where one was generated, this once."""

    kind: str
    name: str
    diff: Sequence[Difference] = ()
    secret: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply did, or would do."""

    revision: int
    created: Sequence[Named]
    changed: Sequence[Named]
    unchanged: Sequence[Named]

    @property
    def is_empty(self) -> bool:
        """Whether everything stays as it is."""
        return not self.created and not self.changed


def send(
    client: Client, file: str, *, dry_run: bool, compatibility: Compatibility
) -> tuple[bytes, Plan]:
    """Send a file's definitions; returns the answer as it came, and read.

    Raises:
        CommandError: the file cannot be read, or the definitions were refused.
    """
    query = {
        "dry_run": "true" if dry_run else None,
        "compatibility": "none" if compatibility == "none" else None,
    }
    media = JSON if file.endswith(".json") else YAML
    answer = client.call("POST", target("/v1/definitions", query), _content(file), media)
    return answer, decoded(answer, Plan)


def show_named(screen: Screen, plan: Plan, *, with_unchanged: bool) -> None:
    """Show what the plan makes and changes, field by field."""
    for each in plan.created:
        screen.say(f"+ {each.kind} {each.name}", style="green")
    for each in plan.changed:
        screen.say(f"~ {each.kind} {each.name}", style="yellow")
        for difference in each.diff:
            _show_difference(screen, difference)
    if with_unchanged:
        for each in plan.unchanged:
            screen.say(f"  {each.kind} {each.name}", style="dim")


def counted(plan: Plan) -> str:
    """Spell how many definitions the plan makes, changes and leaves."""
    return (
        f"{len(plan.created)} created, {len(plan.changed)} changed, {len(plan.unchanged)} unchanged"
    )


def _show_difference(screen: Screen, difference: Difference) -> None:
    place = difference.pointer or "/"
    old, new = _text(difference.old), _text(difference.new)
    match difference.change:
        case "added":
            screen.say(f"    + {place}: {new}", style="green")
        case "removed":
            screen.say(f"    - {place}: {old}", style="red")
        case "changed":
            screen.say(f"    ~ {place}: {old} → {new}", style="yellow")


def _text(value: msgspec.Raw) -> str:
    return bytes(value).decode(errors="replace")


def _content(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        msg = f"{file} cannot be read ({error.strerror}). Name another file by -f."
        raise CommandError(msg) from error
