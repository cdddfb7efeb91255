"""`upshot rebuild`: fill a new generation from the log, silently, beside the live one."""

from __future__ import annotations

from services.operations.client import decoded
from services.operations.following import RebuildProgress, carry_out
from services.operations.options import Json, Key, Projection, Url, open_client
from services.operations.screen import Screen


def rebuild(name: Projection, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Build a new generation of a projection from offset 0, and wait until it has caught up.

    It sends and appends nothing. Look at it by `upshot compare`, throw it away by `upshot drop`.
    Ctrl-C stops the waiting; the rebuild goes on.
    """
    client, screen = open_client(url, key), Screen(as_json=as_json)
    report = carry_out(client, screen, "rebuild", name)
    screen.json(report)
    built = decoded(report, RebuildProgress)
    screen.say(
        f"Generation {built.generation} of {name} has caught up: "
        f"{built.applied_records:,} records applied. `upshot compare {name}` holds it against "
        "the live one."
    )
