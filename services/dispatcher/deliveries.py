"""Messages and deliveries as values, and how new ones enter the queue.

Guarantee: ``enqueue`` writes messages and what is owed of them in the caller's transaction, so they
stand exactly when their cause is applied. Ids derive from the cause: writing one again changes
nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, LiteralString

import msgspec

from contracts.identifiers import CustomerId, EventId, key_of_event_id
from contracts.webhooks import DELIVERY_PREFIX, MESSAGE_PREFIX, delivery_id
from projections.kernel.rows import customer_uuid
from services.runtime.postgres import Session, connect, migrate, translated

SCHEMA = "deliveries"
MIGRATIONS_DIR = Path(__file__).parent / "migrations"

DeliveryState = Literal["pending", "delivering", "succeeded", "exhausted", "disabled"]
"""``disabled``: its endpoint was disabled or deleted before it could be delivered."""


class EndpointKey(msgspec.Struct, frozen=True, order=True):
    """Names an endpoint across workspaces."""

    workspace: str
    name: str


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be sent; ``endpoint`` None means that only the topic bears it.

    ``place`` is the offset of its cause, by which deliveries of a customer are ordered.
    """

    id: str
    workspace: str
    customer: CustomerId
    event: EventId
    distribution: str
    logical_time: datetime
    body: bytes
    endpoint: str | None
    place: int


_INSERT_ENDPOINTS: LiteralString = """
INSERT INTO deliveries.endpoints (workspace, name)
SELECT DISTINCT * FROM unnest(%s::text[], %s::text[])
ON CONFLICT ON CONSTRAINT endpoints_have_one_row_a_name DO NOTHING"""

_INSERT_MESSAGES: LiteralString = """
INSERT INTO deliveries.messages
    (id, workspace, customer, event, distribution, logical_time, body)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::uuid[], %s::text[],
    %s::timestamptz[], %s::bytea[])
ON CONFLICT ON CONSTRAINT messages_have_an_id DO NOTHING"""

_INSERT_DELIVERIES: LiteralString = """
INSERT INTO deliveries.deliveries
    (id, workspace, endpoint, customer, event, message, place, next_attempt_at, created_at)
SELECT g.id, g.workspace, g.endpoint, g.customer, g.event, g.message, g.place,
    now() + make_interval(secs => %s), now()
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::uuid[], %s::uuid[], %s::bigint[])
    AS g (id, workspace, endpoint, customer, event, message, place)
ON CONFLICT ON CONSTRAINT deliveries_have_an_id DO NOTHING"""


async def enqueue(
    session: Session, messages: Sequence[NewMessage], *, first_wait_seconds: int
) -> None:
    """Write messages, and a delivery of each that has an endpoint, in the caller's transaction."""
    owed = [message for message in messages if message.endpoint is not None]
    if not owed:
        return
    keys = sorted({EndpointKey(each.workspace, each.endpoint or "") for each in owed})
    await session.execute(
        _INSERT_ENDPOINTS, ([key.workspace for key in keys], [key.name for key in keys])
    )
    events = [key_of_event_id(each.event).hex() for each in owed]
    ids = [message_uuid(each.id) for each in owed]
    workspaces = [each.workspace for each in owed]
    customers = [customer_uuid(each.customer) for each in owed]
    await session.execute(
        _INSERT_MESSAGES,
        (
            ids,
            workspaces,
            customers,
            events,
            [each.distribution for each in owed],
            [each.logical_time for each in owed],
            [each.body for each in owed],
        ),
    )
    await session.execute(
        _INSERT_DELIVERIES,
        (
            first_wait_seconds,
            [delivery_uuid(delivery_id(each.id, each.endpoint or "")) for each in owed],
            workspaces,
            [each.endpoint for each in owed],
            customers,
            events,
            ids,
            [each.place for each in owed],
        ),
    )


def message_uuid(message: str) -> str:
    """Return a message id's digits, as Postgres reads a uuid."""
    return message.removeprefix(MESSAGE_PREFIX)


def delivery_uuid(delivery: str) -> str:
    """Return a delivery id's digits, as Postgres reads a uuid."""
    return delivery.removeprefix(DELIVERY_PREFIX)


async def migrate_deliveries(conninfo: str) -> list[str]:
    """Bring the queue's schema up to date; answer which migrations ran.

    Raises:
        DatabaseUnavailableError: Postgres did not answer.
    """
    session = await connect(conninfo, schema=SCHEMA)
    try:
        with translated():
            return await migrate(session, SCHEMA, MIGRATIONS_DIR)
    finally:
        await session.close()
