"""`upshot projections`: every generation of every projection, and how far behind it is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.operations.client import Page, decoded, decoded_rows
from services.operations.options import Json, Key, Url, open_client
from services.operations.screen import Screen


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition's place; ``stopped`` says why it stands still."""

    partition: int
    next_offset: int
    end_offset: int
    stopped: str | None = None


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """One generation."""

    name: str
    generation: int
    state: str
    lag_records: int
    staleness_seconds: float
    partitions: Sequence[Partition]


def projections(*, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show every generation of every projection with its lag."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    rows = decoded(client.get("/v1/projections"), Page).data
    screen.json_list(rows)
    found = decoded_rows(rows, Projection)
    screen.table(
        ("projection", "generation#", "state", "applied#", "lag (records)#", "staleness (s)#"),
        [_row(each) for each in found],
    )
    for each in found:
        for partition in each.partitions:
            if partition.stopped is not None:
                screen.say(
                    f"{each.name} generation {each.generation} stands still in partition "
                    f"{partition.partition} at offset {partition.next_offset}: {partition.stopped}",
                    style="red",
                )


def _row(each: Projection) -> tuple[str | int, ...]:
    applied = sum(partition.next_offset for partition in each.partitions)
    staleness = f"{each.staleness_seconds:.1f}"
    return each.name, each.generation, each.state, applied, each.lag_records, staleness
