"""`upshot topics`: the topics of the log, with their settings and ends."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.operations.client import Page, decoded, decoded_rows
from services.operations.options import Json, Key, Url, open_client
from services.operations.screen import Screen


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic; ``end_offsets`` by partition."""

    name: str
    key: str
    partitions: int
    settings: dict[str, str]
    end_offsets: Sequence[int]


def topics(*, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show the topics of the log."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    rows = decoded(client.get("/v1/topics"), Page).data
    screen.json_list(rows)
    screen.table(
        ("topic", "key", "partitions#", "records#", "settings"),
        [_row(each) for each in decoded_rows(rows, Topic)],
    )


def _row(each: Topic) -> tuple[str | int, ...]:
    settings = ", ".join(f"{name}={value}" for name, value in sorted(each.settings.items()))
    return each.name, each.key, each.partitions, sum(each.end_offsets), settings
