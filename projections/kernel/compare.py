"""Whether two generations hold the same read model, row for row, at the same offsets.

Guarantee: the live generation is read in one repeatable-read snapshot and never waits; the other
one is held, run to exactly the snapshot's offsets, and let go whatever happens.
"""

import asyncio
from typing import LiteralString

import msgspec
from psycopg import sql

from projections.kernel.generations import Generation
from projections.kernel.holds import ends_of, has_passed, hold_at, hold_here, offsets_of, release
from services.runtime.postgres import Session, allow_long_statements

WAIT_SECONDS_MAX = 600.0
"""How long one generation may take to reach the other's offsets."""
POLL_SECONDS = 0.05
DIFFERENCES_MAX = 10
"""Rows shown of each side of a table that differs."""
KERNEL_TABLES = ("checkpoints", "outbox", "relays", "migrations")
"""Tables that say where a generation is, not what it believes."""


class TableComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One table in both generations: rows, whether equal, and examples of rows on one side only."""

    table: str
    live_rows: int
    next_rows: int
    equal: bool
    only_live: list[str] = []
    only_next: list[str] = []


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What ``compare`` found; ``offsets`` by partition are where both stood."""

    live_generation: int
    next_generation: int
    equal: bool
    offsets: dict[str, int]
    tables: list[TableComparison]


class CompareTimeoutError(Exception):
    """A generation did not reach the other's offsets in time; is its process running?"""


_TABLES: LiteralString = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = %s AND table_name <> ALL (%s) ORDER BY table_name"""
_DIGEST: LiteralString = """
SELECT count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint), 0)::text
FROM {} AS t"""
_ONLY: LiteralString = "SELECT t::text FROM (SELECT * FROM {} EXCEPT SELECT * FROM {}) t LIMIT %s"


async def table_digests(session: Session, schema: str) -> dict[str, tuple[int, str]]:
    """Count and hash every read-model table of a schema, whatever the order of rows."""
    names = await (await session.execute(_TABLES, (schema, list(KERNEL_TABLES)))).fetchall()
    digests: dict[str, tuple[int, str]] = {}
    for (name,) in names:
        query = sql.SQL(_DIGEST).format(sql.Identifier(schema, name))
        row = await (await session.execute(query)).fetchone()
        assert row is not None, "an aggregate answers one row"
        digests[name] = (row[0], row[1])
    return digests


async def compare(
    reading: Session, steering: Session, live: Generation, candidate: Generation
) -> Comparison:
    """Compare a generation with the live one at the same offsets.

    Args:
        reading: holds the snapshot; not used for anything else meanwhile.
        steering: sets and releases the hold of the candidate.

    Raises:
        CompareTimeoutError: one side stands still.
    """
    await allow_long_statements(reading)
    await hold_here(steering, candidate)
    try:
        await _until_passed(reading, live.schema, await ends_of(steering, candidate.schema))
        while True:
            async with reading.transaction():
                await reading.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                offsets = await offsets_of(reading, live.schema)
                if offsets == await ends_of(reading, live.schema):
                    return await _compare_at(offsets, reading, steering, live, candidate)
            await asyncio.sleep(POLL_SECONDS)  # timers without number are firing: wait for an end
    finally:
        await release(steering, candidate)


async def _compare_at(
    offsets: dict[int, int],
    reading: Session,
    steering: Session,
    live: Generation,
    candidate: Generation,
) -> Comparison:
    expected = await table_digests(reading, live.schema)
    await hold_at(steering, candidate, offsets)
    await _until_passed(steering, candidate.schema, offsets)
    found = await table_digests(steering, candidate.schema)
    tables = [
        await _table(reading, live, candidate, name, expected.get(name), found.get(name))
        for name in sorted({*expected, *found})
    ]
    return Comparison(
        live_generation=live.number,
        next_generation=candidate.number,
        equal=all(table.equal for table in tables),
        offsets={str(partition): offset for partition, offset in offsets.items()},
        tables=tables,
    )


async def _table(
    session: Session,
    live: Generation,
    candidate: Generation,
    name: str,
    expected: tuple[int, str] | None,
    found: tuple[int, str] | None,
) -> TableComparison:
    equal = expected == found
    only_live: list[str] = []
    only_next: list[str] = []
    if not equal and expected is not None and found is not None:
        ours = sql.Identifier(live.schema, name)
        theirs = sql.Identifier(candidate.schema, name)
        only_live = await _only_in(session, ours, theirs)
        only_next = await _only_in(session, theirs, ours)
    return TableComparison(
        table=name,
        live_rows=0 if expected is None else expected[0],
        next_rows=0 if found is None else found[0],
        equal=equal,
        only_live=only_live,
        only_next=only_next,
    )


async def _only_in(session: Session, here: sql.Identifier, there: sql.Identifier) -> list[str]:
    query = sql.SQL(_ONLY).format(here, there)
    rows = await (await session.execute(query, (DIFFERENCES_MAX,))).fetchall()
    return [row[0] for row in rows]


async def _until_passed(session: Session, schema: str, goal: dict[int, int]) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                if await has_passed(session, schema, goal):
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise CompareTimeoutError(schema) from error
