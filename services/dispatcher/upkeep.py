"""Upkeep of the queue: searching it, giving claims back, and ending what can go no further.

Guarantee: nothing stays claimed by a sender that is gone, behind another where order is no longer
asked for, or due at an endpoint that will never be sent to. Each call touches a bounded set.
"""

from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from services.dispatcher.claims import SENDER_LOCK
from services.dispatcher.deliveries import EndpointKey, columns
from services.runtime.postgres import Session

SWEEP_MAX: Final = 1_000
"""Deliveries that one sweep touches, so that no transaction is long."""
DUE_COUNT_MAX: Final = 100_000
"""Counting more would cost more than it tells."""
UNDEFINED_GRACE_SECONDS: Final = 60
"""How long a delivery waits for an endpoint that this process does not know (yet)."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found at an endpoint: deliveries due, deliveries behind an earlier one."""

    endpoint: EndpointKey
    is_disabled: bool
    has_due: bool
    has_behind: bool


_LOOK: LiteralString = """
SELECT * FROM (
    SELECT e.workspace, e.name, e.disabled_at IS NOT NULL,
        EXISTS (
            SELECT FROM deliveries.deliveries d
            WHERE d.workspace = e.workspace AND d.endpoint = e.name AND d.state = 'pending'
                AND NOT d.behind AND d.next_attempt_at <= clock_timestamp()) AS has_due,
        EXISTS (
            SELECT FROM deliveries.deliveries d
            WHERE d.workspace = e.workspace AND d.endpoint = e.name AND d.behind) AS has_behind
    FROM deliveries.endpoints e
) AS found WHERE has_due OR has_behind"""

_COUNT_DUE: LiteralString = """
SELECT count(*) FROM (
    SELECT FROM deliveries.deliveries
    WHERE state = 'pending' AND NOT behind AND next_attempt_at <= clock_timestamp() LIMIT %s
) AS due"""

_RELEASE: LiteralString = """
UPDATE deliveries.deliveries SET state = 'pending', claimed_by = NULL, claimed_until = NULL
WHERE id IN (
    SELECT id FROM deliveries.deliveries
    WHERE state = 'delivering' AND (claimed_until < clock_timestamp() OR NOT claimed_by = ANY (
        ARRAY(SELECT objid::int FROM pg_locks WHERE locktype = 'advisory' AND classid = %s::int
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))))
    LIMIT %s FOR UPDATE SKIP LOCKED)"""

_GIVE_BACK: LiteralString = """
UPDATE deliveries.deliveries SET state = 'pending', claimed_by = NULL, claimed_until = NULL
WHERE id = ANY (%s) AND state = 'delivering' AND claimed_by = %s"""

_UNLINE: LiteralString = """
UPDATE deliveries.deliveries SET behind = false
WHERE id IN (
    SELECT d.id FROM deliveries.deliveries d
    JOIN unnest(%s::text[], %s::text[]) AS g (workspace, endpoint) USING (workspace, endpoint)
    WHERE d.behind LIMIT %s FOR UPDATE OF d SKIP LOCKED)"""

_DISABLE: LiteralString = """
UPDATE deliveries.deliveries SET state = 'disabled', behind = false, ended_at = clock_timestamp()
WHERE id IN (
    SELECT d.id FROM deliveries.deliveries d
    JOIN unnest(%s::text[], %s::text[], %s::int[]) AS g (workspace, endpoint, grace_seconds)
        USING (workspace, endpoint)
    WHERE d.state = 'pending'
        AND d.next_attempt_at <= clock_timestamp() - make_interval(secs => g.grace_seconds)
    LIMIT %s FOR UPDATE OF d SKIP LOCKED)"""


async def look(session: Session) -> list[Sight]:
    """Search every endpoint's queue for what is due or stands behind."""
    rows = await (await session.execute(_LOOK)).fetchall()
    return [
        Sight(
            endpoint=EndpointKey(workspace, name),
            is_disabled=is_disabled,
            has_due=has_due,
            has_behind=has_behind,
        )
        for workspace, name, is_disabled, has_due, has_behind in rows
    ]


async def count_due(session: Session) -> int:
    """Count what is due and first of its line, at most ``DUE_COUNT_MAX``."""
    row = await (await session.execute(_COUNT_DUE, (DUE_COUNT_MAX,))).fetchone()
    return 0 if row is None else row[0]


async def release_lost(session: Session) -> int:
    """Make deliveries due again whose sender is gone or whose lease ran out; answer how many."""
    return (await session.execute(_RELEASE, (SENDER_LOCK, SWEEP_MAX))).rowcount


async def give_back(session: Session, sender: int, deliveries: Sequence[UUID]) -> None:
    """Make claimed deliveries due again that this sender has not begun to attempt."""
    await session.execute(_GIVE_BACK, (list(deliveries), sender))


async def forget_order(session: Session, unordered: Sequence[EndpointKey]) -> int:
    """Let go what stands behind another at endpoints that are not ordered (any more)."""
    names = columns(unordered)
    return (await session.execute(_UNLINE, (*names, SWEEP_MAX))).rowcount


async def disable_due(
    session: Session, disabled: Sequence[EndpointKey], undefined: Sequence[EndpointKey]
) -> int:
    """End what is due at disabled endpoints, and after a grace at those that are not defined."""
    graces = [0] * len(disabled) + [UNDEFINED_GRACE_SECONDS] * len(undefined)
    names = columns([*disabled, *undefined])
    return (await session.execute(_DISABLE, (*names, graces, SWEEP_MAX))).rowcount
