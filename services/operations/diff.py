"""`upshot diff`: what an apply of a file would do, without doing it."""

from __future__ import annotations

import msgspec
import typer

from services.operations.errors import CommandError
from services.operations.options import Json, Key, Url, open_client
from services.operations.plans import CompatibilityOption, File, counted, send, show_named
from services.operations.screen import Screen

DIFFERENT = 1
NO_PLAN = 2


def diff(
    *,
    file: File,
    compatibility: CompatibilityOption = "stored",
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what `upshot apply -f FILE` would create and change; changes nothing.

    Exit code as of diff and `kubectl diff`: 0 when nothing would change, 1 when something would,
    2 when there is no plan (refused definitions, no answer, wrong usage).
    """
    screen = Screen(as_json=as_json)
    try:
        client = open_client(url, key)
        answer, plan = send(client, file, dry_run=True, compatibility=compatibility)
    except CommandError as error:
        screen.note(str(error), style="red")
        raise typer.Exit(NO_PLAN) from error
    screen.json(msgspec.Raw(answer))
    if plan.is_empty:
        screen.say(f"Nothing would change: {counted(plan)}.")
        return
    show_named(screen, plan, with_unchanged=False)
    screen.say(f"An apply would leave {counted(plan)}.")
    raise typer.Exit(DIFFERENT)
