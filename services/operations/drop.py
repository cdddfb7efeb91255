"""`upshot drop`: throw a generation away that is not live."""

from __future__ import annotations

import msgspec

from services.operations.client import decoded
from services.operations.following import carry_out
from services.operations.options import Generation, Json, Key, Projection, Url, open_client
from services.operations.screen import Screen


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Which generation is gone."""

    generation: int


def drop(
    name: Projection,
    *,
    generation: Generation = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Drop a generation that a rebuild made; the live one is never dropped."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    report = carry_out(client, screen, "drop", name, generation=generation)
    screen.json(report)
    screen.say(f"Generation {decoded(report, Dropped).generation} of {name} is dropped.")
