"""`upshot verify`: do the laws of a read model hold in its rows?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from services.operations.client import Client, Page, decoded, decoded_rows
from services.operations.errors import FAILURE
from services.operations.following import carry_out
from services.operations.options import Json, Key, Url, open_client
from services.operations.projections import Projection
from services.operations.screen import Screen


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a verify found: a sentence for each law that is broken."""

    generation: int
    broken: Sequence[str]


class ProjectionVerified(Verified, frozen=True, kw_only=True):
    """The same with the projection's name."""

    projection: str


def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Projection; by default every one.")
    ] = None,
    *,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Check the laws of live read models: what a ledger sums to, what belongs to what.

    Exit code 0 when all hold, 1 when one is broken.
    """
    client, screen = open_client(url, key), Screen(as_json=as_json)
    names = [name] if name else _live(client)
    found = [_verified(client, screen, each) for each in names]
    screen.json_list(found)
    screen.table(
        ("projection", "generation#", "laws"),
        [
            (
                each.projection,
                each.generation,
                f"{len(each.broken)} broken" if each.broken else "hold",
            )
            for each in found
        ],
    )
    for each in found:
        for sentence in each.broken:
            screen.say(f"{each.projection}: {sentence}", style="red")
    if any(each.broken for each in found):
        raise typer.Exit(FAILURE)


def _live(client: Client) -> list[str]:
    rows = decoded(client.get("/v1/projections"), Page).data
    return [each.name for each in decoded_rows(rows, Projection) if each.state == "live"]


def _verified(client: Client, screen: Screen, name: str) -> ProjectionVerified:
    report = decoded(carry_out(client, screen, "verify", name), Verified)
    return ProjectionVerified(projection=name, generation=report.generation, broken=report.broken)
