"""`upshot compare`: is a generation row for row what the live one is, at the same offsets?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import typer

from services.operations.client import decoded
from services.operations.errors import FAILURE
from services.operations.following import carry_out
from services.operations.options import Generation, Json, Key, Projection, Url, open_client
from services.operations.screen import Screen

ROW_CHARS_MAX: Final = 500
"""Of an example row that is shown; JSON has it whole."""


class ComparedTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table in both generations; rows that stand on one side only are examples."""

    table: str
    live_rows: int
    next_rows: int
    equal: bool
    only_live: Sequence[str] = ()
    only_next: Sequence[str] = ()


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a compare found; ``offsets`` by partition are where both stood."""

    equal: bool
    live_generation: int
    next_generation: int
    offsets: dict[str, int]
    tables: Sequence[ComparedTable]


def compare(
    name: Projection,
    *,
    generation: Generation = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Compare a generation with the live one at the same offsets, row for row.

    Exit code 0 when they are equal, 1 when they differ.
    """
    client, screen = open_client(url, key), Screen(as_json=as_json)
    report = carry_out(client, screen, "compare", name, generation=generation)
    screen.json(report)
    found = decoded(report, Comparison)
    live, other = f"generation {found.live_generation}", f"generation {found.next_generation}"
    screen.table(
        ("table", f"{live} rows#", f"{other} rows#", "result"),
        [
            (each.table, each.live_rows, each.next_rows, "equal" if each.equal else "DIFFERS")
            for each in found.tables
        ],
    )
    for table in found.tables:
        _show_rows(screen, table.table, live, table.only_live)
        _show_rows(screen, table.table, other, table.only_next)
    records = f"{sum(found.offsets.values()):,} records"
    if found.equal:
        screen.say(f"Equal after {records}: {name} {other} and {live} (live).", style="green")
        return
    screen.say(f"Different after {records}: {name} {other} and {live} (live).", style="red")
    raise typer.Exit(FAILURE)


def _show_rows(screen: Screen, table: str, side: str, rows: Sequence[str]) -> None:
    for row in rows:
        shown = row if len(row) <= ROW_CHARS_MAX else f"{row[:ROW_CHARS_MAX]}…"
        screen.say(f"only in {side}: {table} {shown}")
