"""What may be asked of deliveries, and what an operator may do to them. For the api.

Guarantee: nothing of another workspace is seen or touched. A redriven delivery keeps its message,
id and place, so a receiver that has seen it knows it again, and goes before later ones of its line.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Literal, LiteralString, get_args
from uuid import UUID

import msgspec
from psycopg.errors import UndefinedTable

from contracts.identifiers import CustomerId, EventId
from contracts.webhooks import DELIVERY_PREFIX, MESSAGE_PREFIX
from projections.kernel.rows import customer_id
from services.dispatcher.deliveries import DeliveryState, delivery_uuid
from services.dispatcher.errors import (
    EndpointDisabledError,
    NotRedrivableError,
    UnknownDeliveryError,
)
from services.dispatcher.filters import DeliveryFilter, conditions_of, uuid_of, values_of
from services.runtime.postgres import DatabaseUnavailableError, Session, translated

STATES: Final[tuple[DeliveryState, ...]] = get_args(DeliveryState)
REDRIVE_SET: Final = 5_000
"""Deliveries redriven in one statement."""
RATE_HOURS: Final = 24
"""The success rate of an endpoint speaks of the attempts of this many hours."""

_EVENT_PREFIX = "event_"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message owed to one endpoint.

    ``attempts_count`` counts all attempts, those before a redrive too. ``next_attempt_at`` is None
    where none is to come, ``ended_at`` where one is.
    """

    id: str
    message: str
    distribution: str
    endpoint: str
    event: EventId
    customer: CustomerId
    state: DeliveryState
    attempts_count: int
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    object: Literal["delivery"] = "delivery"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP try; ``answer`` is the beginning of the body, what is not UTF-8 replaced."""

    ordinal: int
    at: datetime
    duration_ms: int
    status: int | None
    answer: str
    error: str | None


class DeliveryDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery with its attempts, oldest first, and the message's body."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]
    body: msgspec.Raw


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint fares.

    ``success_rate`` is the share of attempts of the last ``RATE_HOURS`` hours that succeeded, None
    where there were none. ``waiting_count`` counts deliveries not ended.
    """

    state: Literal["enabled", "failing", "disabled"]
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    last_success_at: datetime | None
    success_rate: float | None
    waiting_count: int


class After(msgspec.Struct, frozen=True, kw_only=True):
    """The last delivery of the page before."""

    created_at: datetime
    id: str


_COLUMNS: LiteralString = """
SELECT d.id, d.message, m.distribution, d.endpoint, m.event, d.customer::text, d.state,
    d.attempts_count, d.next_attempt_at, d.created_at, d.ended_at"""

_JOINED: LiteralString = """
FROM deliveries.messages m JOIN deliveries.deliveries d ON d.id = m.delivery"""

_FIND_ONE: LiteralString = (
    _COLUMNS
    + """, m.body FROM deliveries.deliveries d JOIN deliveries.messages m ON m.id = d.message
WHERE d.workspace = %s AND d.id = %s"""
)

_FIND_ATTEMPTS: LiteralString = """
SELECT ordinal, at, duration_ms, status, answer, error FROM deliveries.attempts
WHERE delivery = %s ORDER BY ordinal"""

_FIND_ENDPOINT: LiteralString = """
SELECT e.disabled_at, e.disabled_reason, e.failing_since, e.last_success_at,
    (SELECT sum(h.succeeded_count)::float8 / nullif(sum(h.succeeded_count + h.failed_count), 0)
        FROM deliveries.endpoint_hours h
        WHERE h.workspace = e.workspace AND h.endpoint = e.name
            AND h.hour > now() - make_interval(hours => %s)),
    (SELECT count(*) FROM deliveries.deliveries d
        WHERE d.workspace = e.workspace AND d.endpoint = e.name
            AND d.state IN ('pending', 'delivering'))
FROM deliveries.endpoints e WHERE e.workspace = %s AND e.name = %s"""

_ENABLE: LiteralString = """
UPDATE deliveries.endpoints SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL
WHERE workspace = %s AND name = %s"""

_IS_DISABLED: LiteralString = """
SELECT disabled_at IS NOT NULL FROM deliveries.endpoints WHERE workspace = %s AND name = %s"""

_REDRIVE: LiteralString = """
UPDATE deliveries.deliveries SET state = 'pending', behind = false, next_attempt_at = now(),
    attempts_before = attempts_count, ended_at = NULL
WHERE workspace = %s AND id = %s AND state <> 'delivering' RETURNING id"""

_REDRIVE_ALL: LiteralString = """
UPDATE deliveries.deliveries SET state = 'pending', behind = false, next_attempt_at = %(begun)s,
    attempts_before = attempts_count, ended_at = NULL
WHERE id IN (
    SELECT d.id FROM deliveries.messages m
    JOIN deliveries.deliveries d ON d.id = m.delivery
    JOIN deliveries.endpoints e ON e.workspace = d.workspace AND e.name = d.endpoint
    WHERE e.disabled_at IS NULL
        AND (d.ended_at < %(begun)s OR d.state = 'pending' AND d.next_attempt_at > %(begun)s)
        AND """


async def find_deliveries(
    session: Session,
    workspace: str,
    wanted: DeliveryFilter,
    *,
    limit: int,
    after: After | None = None,
) -> list[Delivery]:
    """Find deliveries, newest first, at most ``limit``, those after the last page.

    Raises:
        DatabaseUnavailableError: Postgres did not answer.
    """
    values = values_of(workspace, wanted)
    conditions = conditions_of(wanted)
    if after is not None:
        conditions.append("(m.created_at, m.delivery) < (%(after_at)s, %(after_id)s)")
        values |= {"after_at": after.created_at, "after_id": uuid_of(delivery_uuid(after.id))}
    query = _COLUMNS + _JOINED + " WHERE " + " AND ".join(conditions)
    query += " ORDER BY m.created_at DESC, m.delivery DESC LIMIT %(limit)s"
    with _asked():
        cursor = await session.execute(query, values | {"limit": limit})
        return [_delivery(row) for row in await cursor.fetchall()]


async def find_delivery(session: Session, workspace: str, delivery: str) -> DeliveryDetail:
    """Find one delivery with its attempts.

    Raises:
        UnknownDeliveryError: no such delivery stands in this workspace.
        DatabaseUnavailableError: Postgres did not answer.
    """
    key = uuid_of(delivery_uuid(delivery))
    with _asked():
        row = await (await session.execute(_FIND_ONE, (workspace, key))).fetchone()
        if row is None:
            raise UnknownDeliveryError(delivery)
        attempts = await (await session.execute(_FIND_ATTEMPTS, (key,))).fetchall()
    return DeliveryDetail(
        delivery=_delivery(row),
        attempts=tuple(_attempt(each) for each in attempts),
        body=msgspec.Raw(row[-1]),
    )


async def find_endpoint_state(session: Session, workspace: str, endpoint: str) -> EndpointState:
    """Say how an endpoint fares; one that was never owed anything is enabled.

    Raises:
        DatabaseUnavailableError: Postgres did not answer.
    """
    with _asked():
        cursor = await session.execute(_FIND_ENDPOINT, (RATE_HOURS, workspace, endpoint))
        row = await cursor.fetchone()
    disabled_at, reason, failing_since, last_success_at, rate, waiting = row or (None,) * 5 + (0,)
    return EndpointState(
        state="disabled" if disabled_at else "failing" if failing_since else "enabled",
        disabled_at=disabled_at,
        disabled_reason=reason,
        failing_since=failing_since,
        last_success_at=last_success_at,
        success_rate=rate,
        waiting_count=waiting,
    )


async def enable_endpoint(session: Session, workspace: str, endpoint: str) -> EndpointState:
    """Let an endpoint be sent to again; what was disabled meanwhile is to be redriven.

    Raises:
        DatabaseUnavailableError: Postgres did not answer.
    """
    with _asked():
        await session.execute(_ENABLE, (workspace, endpoint))
    return await find_endpoint_state(session, workspace, endpoint)


async def redrive(session: Session, workspace: str, delivery: str) -> Delivery:
    """Begin a delivery's schedule anew, whatever became of it; one that waits is tried now.

    Raises:
        UnknownDeliveryError: no such delivery stands in this workspace.
        EndpointDisabledError: its endpoint must be enabled first.
        NotRedrivableError: an attempt is running.
        DatabaseUnavailableError: Postgres did not answer.
    """
    found = (await find_delivery(session, workspace, delivery)).delivery
    await _refuse_disabled(session, workspace, found.endpoint)
    with _asked():
        key = uuid_of(delivery_uuid(delivery))
        row = await (await session.execute(_REDRIVE, (workspace, key))).fetchone()
    if row is None:
        raise NotRedrivableError(found.state)
    return (await find_delivery(session, workspace, delivery)).delivery


async def redrive_all(session: Session, workspace: str, wanted: DeliveryFilter) -> int:
    """Begin the schedule anew of deliveries by endpoint, state and time; answer how many.

    Without a state those exhausted or disabled are taken, without an endpoint those of all that are
    enabled. What ends after the call began is left alone, so that the call ends.

    Raises:
        EndpointDisabledError: the endpoint named must be enabled first.
        NotRedrivableError: those wanted are being attempted.
        DatabaseUnavailableError: Postgres did not answer; some may be redriven already.
    """
    if wanted.state == "delivering":
        raise NotRedrivableError(wanted.state)
    if wanted.endpoint is not None:
        await _refuse_disabled(session, workspace, wanted.endpoint)
    with _asked():
        begun = await (await session.execute("SELECT clock_timestamp()")).fetchone()
        values = values_of(workspace, wanted)
        values |= {"begun": None if begun is None else begun[0], "set": REDRIVE_SET}
        conditions = conditions_of(wanted)
        if wanted.state is None:
            conditions.append("d.state IN ('exhausted', 'disabled')")
        query = _REDRIVE_ALL + " AND ".join(conditions)
        query += " LIMIT %(set)s FOR UPDATE OF d SKIP LOCKED)"
        total = 0
        while count := (await session.execute(query, values)).rowcount:
            total += count
    return total


async def _refuse_disabled(session: Session, workspace: str, endpoint: str) -> None:
    with _asked():
        row = await (await session.execute(_IS_DISABLED, (workspace, endpoint))).fetchone()
    if row is not None and row[0]:
        raise EndpointDisabledError(endpoint)


@contextmanager
def _asked() -> Generator[None]:
    """Translate the driver's errors; before the dispatcher's first start nothing can be asked."""
    try:
        with translated():
            yield
    except UndefinedTable as error:
        raise DatabaseUnavailableError("the dispatcher has not made its tables yet") from error


def _delivery(row: Sequence[object]) -> Delivery:
    values = msgspec.convert(row[:11], type=_Row)
    is_open = values.state in ("pending", "delivering")
    return Delivery(
        id=DELIVERY_PREFIX + values.id.hex,
        message=MESSAGE_PREFIX + values.message.hex,
        distribution=values.distribution,
        endpoint=values.endpoint,
        event=EventId(_EVENT_PREFIX + values.event.hex),
        customer=customer_id(values.customer),
        state=values.state,
        attempts_count=values.attempts_count,
        next_attempt_at=values.next_attempt_at if is_open else None,
        created_at=values.created_at,
        ended_at=values.ended_at,
    )


class _Row(msgspec.Struct, frozen=True, array_like=True):
    id: UUID
    message: UUID
    distribution: str
    endpoint: str
    event: UUID
    customer: str
    state: DeliveryState
    attempts_count: int
    next_attempt_at: datetime
    created_at: datetime
    ended_at: datetime | None


def _attempt(row: Sequence[object]) -> Attempt:
    values = msgspec.convert(row, type=_AttemptRow)
    return Attempt(
        ordinal=values.ordinal,
        at=values.at,
        duration_ms=values.duration_ms,
        status=values.status,
        answer=values.answer.decode(errors="replace").replace("\0", "\ufffd"),
        error=values.error,
    )


class _AttemptRow(msgspec.Struct, frozen=True, array_like=True):
    ordinal: int
    at: datetime
    duration_ms: int
    status: int | None
    answer: bytes
    error: str | None
