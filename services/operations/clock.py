"""`upshot clock`: what the workspace's clock shows; a test clock moved forward."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from services.operations.client import decoded
from services.operations.options import Json, Key, Url, open_client
from services.operations.screen import Screen, instant

To = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="Move a test clock to this time, RFC 3339."),
]
Advance = Annotated[
    str | None,
    typer.Option("--advance", metavar="DURATION", help="Move a test clock on, e.g. by P3D."),
]


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """What a clock shows."""

    clock: str
    now: datetime


def clock(
    *,
    to: To = None,
    advance: Advance = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show the workspace's clock, or move its test clock forward.

    What falls due on the way happens as if the time had passed.
    """
    if to is not None and advance is not None:
        raise typer.BadParameter("it says where to, as --to does", param_hint="--advance")
    client, screen = open_client(url, key), Screen(as_json=as_json)
    wanted = {name: each for name, each in (("to", to), ("advance", advance)) if each is not None}
    answer = client.post("/v1/clock", wanted) if wanted else client.get("/v1/clock")
    screen.json(msgspec.Raw(answer))
    shown = decoded(answer, Clock)
    screen.say(f"The {shown.clock} clock shows {instant(shown.now)}.")
