"""Taking deliveries from the queue and writing down what became of them, in sets.

Guarantee: one transaction settles any number of attempts and claims any number of deliveries, of
any number of endpoints. Where an endpoint is ordered, only the first open delivery of each of its
customers is ever claimed. A claim ends when its sender's session ends or its lease runs out, so
nothing stays claimed by a process that is gone. Times are Postgres' own, so processes agree.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from contracts.codec import encode
from contracts.webhooks import MESSAGE_PREFIX
from services.dispatcher.deliveries import DeliveryState, EndpointKey, columns
from services.dispatcher.rate import moved, slots
from services.runtime.postgres import Session

LEASE_SECONDS: Final = 60
"""How long a claim holds: a wait behind one attempt, an attempt, and room to write it down."""
SENDER_LOCK: Final = 0x7570_7364
"""Class of the advisory locks by which senders show that they live ("upsd")."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that this sender is to attempt; ``attempts_made`` since made or redriven."""

    delivery: UUID
    endpoint: EndpointKey
    message: str
    body: bytes
    attempts_made: int


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an attempt; ``wait_seconds`` counts where the state is ``pending`` again.

    Sent to Postgres as JSON: one parameter is cheaper than nine arrays.
    """

    delivery: UUID
    endpoint: EndpointKey
    state: DeliveryState
    wait_seconds: float
    at: datetime
    duration_ms: int
    status: int | None
    answer: bytes
    error: str | None
    is_gone: bool
    """The receiver answered 410: its endpoint is disabled."""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries of an endpoint a sender has room for."""

    endpoint: EndpointKey
    count: int
    is_ordered: bool
    rate_per_second: float | None


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction gave.

    ``more`` names the endpoints that may have more due: all that was wanted was found, or a
    delivery behind a finished one became due. ``slow`` says how long each must wait for its rate.
    """

    claimed: list[Claimed]
    more: frozenset[EndpointKey]
    slow: dict[EndpointKey, float]


Cursor = AsyncCursor[TupleRow]
"""A statement's answer, still to be fetched."""
Found = tuple[EndpointKey, Claimed | None]
"""A delivery found due; None: it stands behind another of its line."""


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    is_disabled: bool
    slot_at: datetime | None
    now: datetime


_NEW_SENDER: LiteralString = "SELECT nextval('deliveries.senders')::int"
_SHOW_LIFE: LiteralString = "SELECT pg_advisory_lock(%s, %s)"

_HOLD_ENDPOINTS: LiteralString = """
SELECT e.workspace, e.name, e.disabled_at IS NOT NULL, e.slot_at, clock_timestamp()
FROM deliveries.endpoints e
JOIN unnest(%s::text[], %s::text[]) AS g (workspace, name) USING (workspace, name)
ORDER BY e.workspace, e.name FOR NO KEY UPDATE OF e"""

_SETTLE: LiteralString = """
WITH settled AS (
    UPDATE deliveries.deliveries d SET
        state = g.state,
        attempts_count = d.attempts_count + 1,
        next_attempt_at = clock_timestamp() + make_interval(secs => g.wait_seconds),
        claimed_by = NULL,
        claimed_until = NULL,
        ended_at = CASE WHEN g.state = 'pending' THEN NULL ELSE clock_timestamp() END
    FROM json_to_recordset(%s::json)
        AS g (delivery uuid, state text, wait_seconds float8, at timestamptz, duration_ms int,
            status int, answer text, error text, is_gone bool)
    WHERE d.id = g.delivery AND d.state = 'delivering' AND d.claimed_by = %s
    RETURNING d.id, d.attempts_count, d.workspace, d.endpoint, d.customer, g.state, g.at,
        g.duration_ms, g.status, g.answer, g.error, g.is_gone
), written AS (
    INSERT INTO deliveries.attempts (delivery, ordinal, at, duration_ms, status, answer, error)
    SELECT id, attempts_count, at, duration_ms, status, decode(answer, 'base64'), error
    FROM settled
), counted AS (
    INSERT INTO deliveries.endpoint_hours AS h
        (workspace, endpoint, hour, succeeded_count, failed_count)
    SELECT workspace, endpoint, date_trunc('hour', now()),
        count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE state <> 'succeeded')
    FROM settled GROUP BY workspace, endpoint
    ON CONFLICT ON CONSTRAINT endpoint_hours_have_one_row_an_hour DO UPDATE SET
        succeeded_count = h.succeeded_count + excluded.succeeded_count,
        failed_count = h.failed_count + excluded.failed_count
), judged AS (
    SELECT workspace, endpoint, bool_or(is_gone) AS is_gone,
        max(at) FILTER (WHERE state = 'succeeded') AS succeeded_at,
        min(at) FILTER (WHERE state <> 'succeeded') AS failed_at
    FROM settled GROUP BY workspace, endpoint
)
UPDATE deliveries.endpoints e SET
    last_success_at = coalesce(j.succeeded_at, e.last_success_at),
    failing_since = CASE
        WHEN j.succeeded_at IS NULL THEN coalesce(e.failing_since, j.failed_at)
        WHEN j.failed_at > j.succeeded_at THEN j.failed_at
    END,
    disabled_at = CASE WHEN j.is_gone THEN clock_timestamp() ELSE e.disabled_at END,
    disabled_reason = CASE WHEN j.is_gone THEN 'answered 410' ELSE e.disabled_reason END
FROM judged j
WHERE e.workspace = j.workspace AND e.name = j.endpoint
    AND (j.is_gone OR j.failed_at IS NOT NULL OR e.failing_since IS NOT NULL
        OR e.last_success_at IS NULL OR e.last_success_at < j.succeeded_at - interval '1 s')"""

_FREE: LiteralString = """
UPDATE deliveries.deliveries d SET behind = false
FROM (SELECT DISTINCT workspace, endpoint, customer FROM deliveries.deliveries WHERE id = ANY (%s))
    AS g
CROSS JOIN LATERAL (
    SELECT n.id FROM deliveries.deliveries n
    WHERE n.workspace = g.workspace AND n.endpoint = g.endpoint AND n.customer = g.customer
        AND n.state IN ('pending', 'delivering')
    ORDER BY n.workspace, n.endpoint, n.customer, n.place, n.id LIMIT 1
) AS first
WHERE d.id = first.id AND d.behind
RETURNING d.workspace, d.endpoint"""

_CLAIM: LiteralString = """
WITH due AS (
    SELECT d.id, d.workspace, d.endpoint, d.customer, d.place, a.is_ordered
    FROM unnest(%s::text[], %s::text[], %s::int[], %s::bool[])
        AS a (workspace, endpoint, wanted, is_ordered)
    JOIN deliveries.endpoints o
        ON o.workspace = a.workspace AND o.name = a.endpoint AND o.disabled_at IS NULL
    CROSS JOIN LATERAL (
        SELECT n.id, n.workspace, n.endpoint, n.customer, n.place FROM deliveries.deliveries n
        WHERE n.workspace = a.workspace AND n.endpoint = a.endpoint
            AND n.state = 'pending' AND NOT n.behind AND n.next_attempt_at <= clock_timestamp()
        ORDER BY n.workspace, n.endpoint, n.next_attempt_at, n.place LIMIT a.wanted
        FOR UPDATE SKIP LOCKED
    ) AS d
), placed AS (
    SELECT due.id, due.is_ordered AND EXISTS (
        SELECT FROM deliveries.deliveries e
        WHERE e.workspace = due.workspace AND e.endpoint = due.endpoint
            AND e.customer = due.customer AND e.state IN ('pending', 'delivering')
            AND (e.place, e.id) < (due.place, due.id)
    ) AS is_behind
    FROM due
), taken AS (
    UPDATE deliveries.deliveries d SET
        behind = p.is_behind,
        state = CASE WHEN p.is_behind THEN 'pending' ELSE 'delivering' END,
        claimed_by = CASE WHEN p.is_behind THEN NULL ELSE %s::int END,
        claimed_until = CASE WHEN p.is_behind THEN NULL
            ELSE clock_timestamp() + make_interval(secs => %s) END
    FROM placed p WHERE d.id = p.id
    RETURNING d.id, d.workspace, d.endpoint, d.message, d.place, d.behind,
        d.attempts_count - d.attempts_before AS attempts_made
)
SELECT t.id, t.workspace, t.endpoint, t.message, t.behind, t.attempts_made,
    CASE WHEN t.behind THEN NULL ELSE m.body END
FROM taken t JOIN deliveries.messages m ON m.id = t.message
ORDER BY t.place"""

_MOVE_SLOTS: LiteralString = """
UPDATE deliveries.endpoints e SET slot_at = g.slot_at
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS g (workspace, name, slot_at)
WHERE e.workspace = g.workspace AND e.name = g.name"""


async def new_sender(session: Session) -> int:
    """Draw a number for a sender of this process."""
    rows = await (await session.execute(_NEW_SENDER)).fetchall()
    return int(rows[0][0])


async def show_life(session: Session, sender: int) -> None:
    """Hold a sender's claims for as long as this session lives."""
    await session.execute(_SHOW_LIFE, (SENDER_LOCK, sender))


async def exchange(
    session: Session, sender: int, settlements: Sequence[Settlement], wants: Sequence[Want]
) -> Exchange:
    """Write down what became of attempts and claim new deliveries, in one transaction.

    Its statements go to Postgres together; only where a rate is limited is an answer waited for.
    """
    async with session.pipeline(), session.transaction():
        holding = await _hold(session, {each.endpoint for each in (*settlements, *wants)})
        freeing = await _settle(session, sender, settlements) if settlements else None
        held: dict[EndpointKey, _Held] = {}
        granted, slow = wants, dict[EndpointKey, float]()
        if any(want.rate_per_second is not None for want in wants):
            held = await _held(holding)
            granted, slow = _granted(wants, held)
        claiming = await _claim(session, sender, granted) if granted else None
        found = await _found(claiming) if held else []
        await _move_slots(session, granted, held, found)
    if not held:
        found = await _found(claiming)
    freed = [] if freeing is None else await freeing.fetchall()
    counts = Counter(endpoint for endpoint, _ in found)
    full = {want.endpoint for want in granted if counts[want.endpoint] >= want.count}
    return Exchange(
        claimed=[claimed for _, claimed in found if claimed is not None],
        more=frozenset(full | {EndpointKey(row[0], row[1]) for row in freed}),
        slow=slow,
    )


async def _hold(session: Session, endpoints: Iterable[EndpointKey]) -> Cursor:
    """Lock the endpoints' rows, so that no two transactions judge one line at once."""
    return await session.execute(_HOLD_ENDPOINTS, columns(sorted(endpoints)))


async def _held(holding: Cursor) -> dict[EndpointKey, _Held]:
    return {
        EndpointKey(row[0], row[1]): _Held(is_disabled=row[2], slot_at=row[3], now=row[4])
        for row in await holding.fetchall()
    }


async def _settle(session: Session, sender: int, settlements: Sequence[Settlement]) -> Cursor:
    """Write results down; the answer names the endpoints where this made others due."""
    await session.execute(_SETTLE, (encode(settlements).decode(), sender))
    ended = [each.delivery for each in settlements if each.state != "pending"]
    return await session.execute(_FREE, (ended,))


def _granted(
    wants: Sequence[Want], held: dict[EndpointKey, _Held]
) -> tuple[list[Want], dict[EndpointKey, float]]:
    """Cut what is wanted to what each endpoint's rate allows now."""
    granted: list[Want] = []
    slow: dict[EndpointKey, float] = {}
    for want in wants:
        if want.rate_per_second is None:
            granted.append(want)
            continue
        row = held.get(want.endpoint)
        if row is None or row.is_disabled:
            continue
        free = slots(row.slot_at, row.now, rate=want.rate_per_second, wanted=want.count)
        if free.count:
            granted.append(msgspec.structs.replace(want, count=free.count))
        else:
            slow[want.endpoint] = free.wait_seconds
    return granted, slow


async def _claim(session: Session, sender: int, wants: Sequence[Want]) -> Cursor:
    return await session.execute(
        _CLAIM,
        (
            *columns([want.endpoint for want in wants]),
            [want.count for want in wants],
            [want.is_ordered for want in wants],
            sender,
            LEASE_SECONDS,
        ),
    )


async def _found(claiming: Cursor | None) -> list[Found]:
    if claiming is None:
        return []
    found: list[Found] = []
    for delivery, workspace, name, message, is_behind, made, body in await claiming.fetchall():
        claimed = Claimed(
            delivery=delivery,
            endpoint=EndpointKey(workspace, name),
            message=MESSAGE_PREFIX + message.hex,
            body=b"" if is_behind else body,
            attempts_made=made,
        )
        found.append((claimed.endpoint, None if is_behind else claimed))
    return found


async def _move_slots(
    session: Session,
    granted: Sequence[Want],
    held: dict[EndpointKey, _Held],
    found: Sequence[Found],
) -> None:
    started = Counter(endpoint for endpoint, claimed in found if claimed is not None)
    moves = [
        (
            want.endpoint,
            moved(
                held[want.endpoint].slot_at,
                held[want.endpoint].now,
                rate=want.rate_per_second,
                started=started[want.endpoint],
            ),
        )
        for want in granted
        if want.rate_per_second is not None and started[want.endpoint]
    ]
    if moves:
        names = columns([endpoint for endpoint, _ in moves])
        await session.execute(_MOVE_SLOTS, (*names, [slot_at for _, slot_at in moves]))
