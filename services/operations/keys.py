"""`upshot keys`: make, list and revoke API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from services.operations.client import decoded, decoded_rows, segment
from services.operations.options import Json, Key, Limit, Url, open_client
from services.operations.screen import Screen, instant

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")]
Scopes = Annotated[
    list[str],
    typer.Option("--scope", metavar="SCOPE", help="What it may do, e.g. events:write; repeat it."),
]
ExpiresAt = Annotated[
    str | None,
    typer.Option("--expires-at", metavar="TIME", help="RFC 3339; else it holds until revoked."),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id, as `keys list` shows it.")]

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key; ``secret`` stands in the answer that makes it alone."""

    id: str
    name: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None = None
    secret: str | None = None


@app.command("create")
def create_key(
    name: Name,
    *,
    scopes: Scopes,
    expires_at: ExpiresAt = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a key. Its secret is shown this once."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    wanted: dict[str, object] = {"name": name, "scopes": scopes}
    if expires_at is not None:
        wanted["expires_at"] = expires_at
    answer = client.post("/v1/keys", wanted)
    screen.json(msgspec.Raw(answer))
    made = decoded(answer, ApiKey)
    screen.say(f"Key {made.id} may: {', '.join(made.scopes)}. Its secret is shown this once:")
    screen.say(f"{made.secret}", style="bold")


@app.command("list")
def list_keys(
    *, limit: Limit = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """List the workspace's keys, without secrets."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    rows = client.rows("/v1/keys", {}, limit)
    screen.json_list(rows)
    screen.table(
        ("id", "name", "scopes", "created", "expires"),
        [
            (
                each.id,
                each.name,
                ", ".join(each.scopes),
                instant(each.created_at),
                instant(each.expires_at),
            )
            for each in decoded_rows(rows, ApiKey)
        ],
    )


@app.command("revoke")
def revoke_key(key_id: KeyId, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Revoke a key. Every process knows it within a minute."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    answer = client.delete(f"/v1/keys/{segment(key_id)}")
    screen.json(msgspec.Raw(answer))
    screen.say(f"Key {key_id} is revoked; every process knows it within a minute.")
