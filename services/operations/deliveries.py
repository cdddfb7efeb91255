"""`upshot deliveries`: what is owed to endpoints, and beginning it anew."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from services.operations.client import decoded, decoded_rows, segment
from services.operations.options import Json, Key, Limit, Url, open_client
from services.operations.screen import Screen, instant

Endpoint = Annotated[str | None, typer.Option("--endpoint", metavar="NAME", help="To this one.")]
State = Annotated[
    str | None,
    typer.Option("--state", help="pending, delivering, succeeded, exhausted or disabled."),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Created then or later (RFC 3339).")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Created before (RFC 3339).")]
Event = Annotated[str | None, typer.Option("--event", metavar="ID", help="Caused by this event.")]
Customer = Annotated[
    str | None, typer.Option("--customer", metavar="ID", help="Of this id or source_id.")
]
DeliveryId = Annotated[
    str | None, typer.Argument(metavar="ID", help="One delivery; else say which by options.")
]

app = typer.Typer(no_args_is_help=True, help="See deliveries, and begin them anew.")


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message owed to one endpoint."""

    id: str
    distribution: str
    endpoint: str
    event: str
    customer: str
    state: str
    attempts_count: int
    next_attempt_at: datetime | None
    created_at: datetime


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries begin anew."""

    redriven: int


@app.command("list")
def list_deliveries(
    *,
    endpoint: Endpoint = None,
    state: State = None,
    event: Event = None,
    customer: Customer = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = 100,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List deliveries, newest first."""
    client, screen = open_client(url, key), Screen(as_json=as_json)
    query = {
        "endpoint": endpoint,
        "state": state,
        "event": event,
        "customer": customer,
        "from": created_from,
        "to": created_to,
    }
    rows = client.rows("/v1/deliveries", query, limit)
    screen.json_list(rows)
    screen.table(
        ("id", "created", "endpoint", "event", "customer", "state", "attempts#", "next attempt"),
        [_row(each) for each in decoded_rows(rows, Delivery)],
    )


@app.command("redrive")
def redrive_deliveries(
    delivery: DeliveryId = None,
    *,
    endpoint: Endpoint = None,
    state: State = None,
    created_from: From = None,
    created_to: To = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Begin deliveries anew: one by its id, or those that options name.

    Without --state those that are exhausted or disabled. A receiver sees the same webhook-id.
    """
    given = {"endpoint": endpoint, "state": state, "from": created_from, "to": created_to}
    filters = {name: value for name, value in given.items() if value is not None}
    if (delivery is None) is not bool(filters):
        raise typer.BadParameter(
            "name one delivery, or say which by --endpoint, --state, --from and --to",
            param_hint="ID",
        )
    client, screen = open_client(url, key), Screen(as_json=as_json)
    if delivery is None:
        answer = client.post("/v1/deliveries/redrive", filters)
        screen.json(msgspec.Raw(answer))
        count = decoded(answer, Redriven).redriven
        screen.say("1 delivery begins anew." if count == 1 else f"{count} deliveries begin anew.")
        return
    answer = client.post(f"/v1/deliveries/{segment(delivery)}/redrive")
    screen.json(msgspec.Raw(answer))
    screen.say(f"Delivery {delivery} is {decoded(answer, Delivery).state} and begins anew.")


def _row(each: Delivery) -> tuple[str | int | None, ...]:
    return (
        each.id,
        instant(each.created_at),
        each.endpoint,
        each.event,
        each.customer,
        each.state,
        each.attempts_count,
        instant(each.next_attempt_at),
    )
