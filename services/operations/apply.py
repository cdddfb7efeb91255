"""`upshot apply`: bring the workspace's definitions to what a file says, all or none."""

from __future__ import annotations

import msgspec

from services.operations.options import Json, Key, Url, open_client
from services.operations.plans import (
    CompatibilityOption,
    File,
    counted,
    send,
    show_named,
)
from services.operations.screen import Screen


def apply(
    *,
    file: File,
    compatibility: CompatibilityOption = "stored",
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Apply a file's definitions, all or none. Definitions that it does not name stay.

    `upshot diff -f FILE` shows beforehand what this would do.
    """
    client, screen = open_client(url, key), Screen(as_json=as_json)
    answer, plan = send(client, file, dry_run=False, compatibility=compatibility)
    screen.json(msgspec.Raw(answer))
    show_named(screen, plan, with_unchanged=True)
    for each in (*plan.created, *plan.changed):
        if each.secret is not None:
            screen.say(f"The secret of {each.kind} {each.name} is shown this once: {each.secret}")
    screen.say(f"Revision {plan.revision}: {counted(plan)}.")
