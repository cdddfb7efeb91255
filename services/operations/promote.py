"""`upshot promote` and `upshot rollback`: make another generation the live one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.administration import OperationVerb
from services.operations.client import Client, decoded
from services.operations.following import carry_out
from services.operations.options import (
    EmitDifference,
    Generation,
    Json,
    Key,
    Projection,
    Url,
    open_client,
)
from services.operations.screen import Screen


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """Which generations changed places, at which offsets, and how many outputs corrected others."""

    live_generation: int
    retired_generation: int
    offsets: Mapping[str, int]
    emitted_outputs: int


def promote(
    name: Projection,
    *,
    generation: Generation = None,
    emit_difference: EmitDifference = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a rebuilt generation live, if outputs describe what it believes.

    Where they describe something else (balances that a changed model gives), it is refused, or
    with --emit-difference outputs are put out that correct them (adjusting entries). Traffic goes
    on; outputs pause for the moment of the change and join without a gap. The retired generation
    goes on silently: `upshot rollback` makes it live again, `upshot drop` ends it.
    """
    client = open_client(url, key)
    screen = Screen(as_json=as_json)
    _change(name, "promote", generation, emit_difference, client, screen)


def rollback(
    name: Projection,
    *,
    emit_difference: EmitDifference = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make the generation live again that was live before the last promote."""
    client = open_client(url, key)
    screen = Screen(as_json=as_json)
    _change(name, "rollback", None, emit_difference, client, screen)


def _change(
    name: str,
    verb: OperationVerb,
    generation: int | None,
    emit_difference: bool,  # noqa: FBT001 - the flag as it was given
    client: Client,
    screen: Screen,
) -> None:
    report = carry_out(
        client, screen, verb, name, generation=generation, emit_difference=emit_difference
    )
    screen.json(report)
    done = decoded(report, Promoted)
    screen.say(
        f"Generation {done.live_generation} of {name} is live after "
        f"{sum(done.offsets.values()):,} records; generation {done.retired_generation} goes on "
        f"silently: `upshot rollback {name}` makes it live again. "
        f"{done.emitted_outputs:,} outputs corrected what had been told.",
        style="green",
    )
