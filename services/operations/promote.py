"""`upshot promote` and `upshot rollback`: make another generation the live one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.administration import OperationVerb
from services.operations.client import decoded
from services.operations.following import carry_out
from services.operations.options import Generation, Json, Key, Projection, Url, open_client
from services.operations.screen import Screen


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """Which generations changed places, and at which offset of each partition."""

    live_generation: int
    retired_generation: int
    offsets: Mapping[str, int]


def promote(
    name: Projection,
    *,
    generation: Generation = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a rebuilt generation live, if it is equal to the live one at the same offsets.

    Traffic goes on; outputs pause for the moment of the change and join without a gap. The retired
    generation goes on silently: `upshot rollback` makes it live again, `upshot drop` ends it.
    """
    _change(name, "promote", generation, Screen(as_json=as_json), url, key)


def rollback(name: Projection, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Make the generation live again that was live before the last promote."""
    _change(name, "rollback", None, Screen(as_json=as_json), url, key)


def _change(
    name: str,
    verb: OperationVerb,
    generation: int | None,
    screen: Screen,
    url: str | None,
    key: str | None,
) -> None:
    report = carry_out(open_client(url, key), screen, verb, name, generation=generation)
    screen.json(report)
    done = decoded(report, Promoted)
    screen.say(
        f"Generation {done.live_generation} of {name} is live after "
        f"{sum(done.offsets.values()):,} records; generation {done.retired_generation} goes on "
        f"silently: `upshot rollback {name}` makes it live again.",
        style="green",
    )
