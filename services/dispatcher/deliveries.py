"""Messages and deliveries as values, and how new ones enter the queue.

Guarantee: ``enqueue`` writes messages and what is owed of them in the caller's transaction, so they
stand exactly when their cause is applied. Ids derive from the cause: writing one again changes
nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, LiteralString

import msgspec

from contracts.codec import encode
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

    ``partition`` and ``place`` are partition and offset of its cause: to that partition of the
    topic it goes, and by the place deliveries of a customer are ordered.
    """

    id: str
    workspace: str
    customer: CustomerId
    event: EventId
    distribution: str
    logical_time: datetime
    body: bytes
    endpoint: str | None
    partition: int
    place: int

    @property
    def owed_to(self) -> EndpointKey | None:
        """The endpoint it is owed to, if any."""
        return None if self.endpoint is None else EndpointKey(self.workspace, self.endpoint)


_INSERT: LiteralString = """
WITH given AS (
    SELECT * FROM json_to_recordset(%s::json)
        AS g (id uuid, workspace text, customer uuid, event uuid, distribution text,
            logical_time timestamptz, body text, endpoint text, delivery uuid, place bigint)
), known AS (
    INSERT INTO deliveries.endpoints (workspace, name)
    SELECT DISTINCT workspace, endpoint FROM given WHERE endpoint IS NOT NULL ORDER BY 1, 2
    ON CONFLICT ON CONSTRAINT endpoints_have_one_row_a_name DO NOTHING
), fresh AS (
    INSERT INTO deliveries.messages
        (id, workspace, customer, event, distribution, logical_time, body, endpoint, delivery,
            created_at)
    SELECT id, workspace, customer, event, distribution, logical_time, decode(body, 'base64'),
        endpoint, delivery, now()
    FROM given ORDER BY id
    ON CONFLICT ON CONSTRAINT messages_have_an_id DO NOTHING RETURNING id
), owed AS (
    INSERT INTO deliveries.deliveries
        (id, workspace, endpoint, customer, message, place, next_attempt_at, created_at)
    SELECT g.delivery, g.workspace, g.endpoint, g.customer, g.id, g.place,
        now() + make_interval(secs => %s), now()
    FROM given g JOIN fresh USING (id)
    WHERE g.endpoint IS NOT NULL
)
SELECT id FROM fresh"""


async def enqueue(
    session: Session, messages: Sequence[NewMessage], *, first_wait_seconds: int
) -> list[NewMessage]:
    """Write messages and what is owed of them, in one statement; answer those that are new.

    A message that stands already, since its fact was told at another customer too, is passed over.
    """
    first: dict[str, NewMessage] = {}
    for message in messages:
        first.setdefault(message.id, message)
    if not first:
        return []
    told = encode([_row(each) for each in first.values()]).decode()
    cursor = await session.execute(_INSERT, (told, first_wait_seconds))
    fresh = {MESSAGE_PREFIX + row[0].hex for row in await cursor.fetchall()}
    return [message for message in first.values() if message.id in fresh]


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it goes to Postgres: as JSON, one parameter being cheaper than ten arrays."""

    id: str
    workspace: str
    customer: str
    event: str
    distribution: str
    logical_time: datetime
    body: bytes
    endpoint: str | None
    delivery: str | None
    place: int


def _row(message: NewMessage) -> _Row:
    owed_to = message.endpoint
    return _Row(
        id=message_uuid(message.id),
        workspace=message.workspace,
        customer=customer_uuid(message.customer),
        event=key_of_event_id(message.event).hex(),
        distribution=message.distribution,
        logical_time=message.logical_time,
        body=message.body,
        endpoint=owed_to,
        delivery=None if owed_to is None else delivery_uuid(delivery_id(message.id, owed_to)),
        place=message.place,
    )


def message_uuid(message: str) -> str:
    """Return a message id's digits, as Postgres reads a uuid."""
    return message.removeprefix(MESSAGE_PREFIX)


def delivery_uuid(delivery: str) -> str:
    """Return a delivery id's digits, as Postgres reads a uuid."""
    return delivery.removeprefix(DELIVERY_PREFIX)


def columns(endpoints: Iterable[EndpointKey]) -> tuple[list[str], list[str]]:
    """Give the workspaces and the names of endpoints, as two parameters."""
    keys = list(endpoints)
    return [key.workspace for key in keys], [key.name for key in keys]


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
