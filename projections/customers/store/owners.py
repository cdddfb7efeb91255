"""Rows of ``fact_owners``: the one table that several partitions write.

Guarantee: whoever settles a fact holds its row locked until the commit, so every claim meets the
greatest one committed before it. New keys are inserted, then rows that stood are locked, both in
the order of the keys; who waits for a lock of the second kind holds none that an inserter waits
for before it, so no two partitions wait for each other.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec

from contracts import codec
from contracts.events import EVENT_WITHDRAWN, EventWithdrawn
from contracts.identifiers import FactKey, event_id
from contracts.topics import CUSTOMER_EVENTS
from projections.customers.model import Owner, Withdrawal, WorkingSet, settle
from projections.customers.store.instants import instants
from projections.kernel import binary
from projections.kernel.projection import Output
from services.runtime.postgres import Session

_INSERT: LiteralString = """
WITH fresh AS (
    INSERT INTO fact_owners
        (workspace, fact, customer, occurred_at, appended_at, partition, record_offset)
    SELECT workspace, fact, customer, occurred_at, appended_at, %s, record_offset
    FROM unnest(%s, %s, %s, %s, %s, %s)
        AS n (workspace, fact, customer, occurred_at, appended_at, record_offset)
    ORDER BY workspace, fact
    ON CONFLICT ON CONSTRAINT facts_have_one_owner DO NOTHING RETURNING fact)
SELECT count(*) FROM fresh"""
_LOCK: LiteralString = """
SELECT o.workspace, uuid_send(o.fact), uuid_send(o.customer), o.occurred_at, o.appended_at,
    o.partition, o.record_offset, o.stands_partition, o.stands_offset
FROM unnest(%s, %s, %s) AS n (workspace, fact, record_offset)
JOIN fact_owners o ON o.workspace = n.workspace AND o.fact = n.fact
WHERE (o.partition, o.record_offset) <> (%s, n.record_offset)
ORDER BY o.workspace, o.fact FOR UPDATE OF o"""
_UPDATE: LiteralString = """
UPDATE fact_owners o SET customer = n.customer, occurred_at = n.occurred_at,
    appended_at = n.appended_at, partition = %s, record_offset = n.record_offset,
    stands_partition = NULL, stands_offset = NULL
FROM unnest(%s, %s, %s, %s, %s, %s)
    AS n (workspace, fact, customer, occurred_at, appended_at, record_offset)
WHERE o.workspace = n.workspace AND o.fact = n.fact"""

_Fact = tuple[str, FactKey]


class _Row(msgspec.Struct, array_like=True, frozen=True):
    workspace: str
    fact: bytes
    customer: bytes
    occurred_at: datetime
    appended_at: datetime
    partition: int
    offset: int
    stands_partition: int | None
    stands_offset: int | None


async def write(session: Session, working: WorkingSet) -> Sequence[Output]:
    """Settle the claims of a batch; answers a withdrawal for each customer who loses a fact."""
    if not working.claims:
        return ()
    claims = sorted(working.claims.items())
    first = [(fact, told[0].owner) for fact, told in claims]
    inserted = await (await session.execute(_INSERT, _columns(first))).fetchone()
    held = dict(first)
    if inserted != (len(first),):
        held.update(await _lock(session, first))
    changed: list[tuple[_Fact, Owner]] = []
    lost: list[Withdrawal] = []
    for fact, told in claims:
        before = held[fact]
        unsettled = told[1:] if before is told[0].owner else told
        if not unsettled:
            continue
        owner, withdrawals = settle(before, unsettled)
        lost += withdrawals
        if owner != before:
            changed.append((fact, owner))
    if changed:
        await session.execute(_UPDATE, _columns(changed))
    return [output_of(withdrawal) for withdrawal in lost]


async def _lock(session: Session, first: Sequence[tuple[_Fact, Owner]]) -> dict[_Fact, Owner]:
    cursor = await session.execute(
        _LOCK,
        (
            binary.texts(workspace for (workspace, _), _ in first),
            binary.uuids([key for (_, key), _ in first]),
            binary.bigints(owner.offset for _, owner in first),
            first[0][1].partition,
        ),
    )
    found = [msgspec.convert(row, _Row) for row in await cursor.fetchall()]
    return {
        (row.workspace, FactKey(row.fact)): Owner(
            customer=binary.customer_id(row.customer),
            occurred_at=row.occurred_at,
            appended_at=row.appended_at,
            partition=row.partition,
            offset=row.offset,
            stands=None
            if row.stands_partition is None or row.stands_offset is None
            else (row.stands_partition, row.stands_offset),
        )
        for row in found
    }


def _columns(told: Sequence[tuple[_Fact, Owner]]) -> tuple[object, ...]:
    """Spell claims of this batch: all of them are of one partition."""
    return (
        told[0][1].partition,
        binary.texts(workspace for (workspace, _), _ in told),
        binary.uuids([key for (_, key), _ in told]),
        binary.uuids([binary.customer_key(owner.customer) for _, owner in told]),
        instants([owner.occurred_at for _, owner in told]),
        instants([owner.appended_at for _, owner in told]),
        binary.bigints(owner.offset for _, owner in told),
    )


def output_of(lost: Withdrawal) -> Output:
    """Make the record that takes a fact from who lost it."""
    withdrawn = EventWithdrawn(
        event_id=event_id(lost.key),
        last_offset=lost.last_offset,
        last_partition=lost.last_partition,
        held_by=lost.held_by,
    )
    return Output(
        topic=CUSTOMER_EVENTS,
        type=EVENT_WITHDRAWN,
        id=lost.id,
        customer=lost.customer,
        time=lost.cause.at,
        data=codec.raw(withdrawn),
        cause=lost.cause,
    )
