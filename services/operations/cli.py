"""The command `upshot`: its verbs, and how each of them ends.

Guarantee: exit code 0 for done, 1 for a failure, 2 for wrong usage (`diff` says its own in its
help); an error is a sentence on stderr that says what to do, never a traceback of ours.
"""

from __future__ import annotations

import sys

import typer

from services.operations import dead_letters, deliveries, keys
from services.operations.apply import apply
from services.operations.clock import clock
from services.operations.compare import compare
from services.operations.diff import diff
from services.operations.drop import drop
from services.operations.errors import FAILURE, CommandError
from services.operations.events_import import import_events
from services.operations.events_tail import tail
from services.operations.options import Json, load_settings
from services.operations.projections import projections
from services.operations.promote import promote, rollback
from services.operations.rebuild import rebuild
from services.operations.screen import Screen
from services.operations.topics import topics
from services.operations.verify import verify

app = typer.Typer(
    name="upshot",
    help="Turns customer events into outcomes. `upshot run` starts everything on this machine; "
    "the other commands speak to a running front door.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
events = typer.Typer(no_args_is_help=True, help="Send a file of events, or watch what they cause.")


@app.command("run")
def run_everything(*, as_json: Json = False) -> None:
    """Start everything on this machine and show what events cause; Ctrl-C stops it."""
    import asyncio  # noqa: PLC0415 - as below

    from services.operations.run import run  # noqa: PLC0415 - loads the whole system

    raise typer.Exit(asyncio.run(run(load_settings(), as_json=as_json)))


events.command("import")(import_events)
events.command("tail")(tail)
app.command("apply")(apply)
app.command("diff")(diff)
app.add_typer(events, name="events")
app.command("clock")(clock)
app.command("projections")(projections)
app.command("rebuild")(rebuild)
app.command("compare")(compare)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("drop")(drop)
app.command("verify")(verify)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(keys.app, name="keys")
app.command("topics")(topics)


def main() -> None:
    """Run a command line and leave with its exit code."""
    try:
        app()
    except CommandError as error:
        Screen().note(str(error), style="red")
        sys.exit(FAILURE)
