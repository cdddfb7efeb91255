"""Holding a generation at offsets, so that it never goes past them until it is let go."""

from typing import LiteralString

from psycopg import sql

from projections.kernel.generations import Generation
from services.runtime.postgres import Session

_OFFSETS: LiteralString = "SELECT partition, next_offset FROM {} ORDER BY partition"
_ENDS: LiteralString = """
SELECT partition, next_offset + is_partway::int FROM {} ORDER BY partition"""
_HOLD_HERE: LiteralString = "UPDATE {} SET hold_at = next_offset + is_partway::int"
_HOLD_AT: LiteralString = """
UPDATE {} c SET hold_at = n.hold_at
FROM unnest(%s::int[], %s::bigint[]) AS n (partition, hold_at) WHERE c.partition = n.partition"""
_RELEASE: LiteralString = "UPDATE {} SET hold_at = NULL"


async def offsets_of(session: Session, schema: str) -> dict[int, int]:
    """Read where each partition of a generation stands."""
    query = sql.SQL(_OFFSETS).format(sql.Identifier(schema, "checkpoints"))
    return dict(await (await session.execute(query)).fetchall())


async def ends_of(session: Session, schema: str) -> dict[int, int]:
    """Read the first offsets at which a generation's rows are a function of the log up to there.

    They differ from where it stands in partitions that have applied a record's timers in part.
    """
    query = sql.SQL(_ENDS).format(sql.Identifier(schema, "checkpoints"))
    return dict(await (await session.execute(query)).fetchall())


async def has_passed(session: Session, schema: str, goal: dict[int, int]) -> bool:
    """Whether a generation has reached these offsets in every partition."""
    offsets = await offsets_of(session, schema)
    return all(offsets[partition] >= offset for partition, offset in goal.items())


async def hold_here(session: Session, generation: Generation) -> None:
    """Hold a generation at its ends."""
    await session.execute(sql.SQL(_HOLD_HERE).format(_checkpoints(generation)))


async def hold_at(session: Session, generation: Generation, offsets: dict[int, int]) -> None:
    """Let a generation go up to these offsets, none of which it has passed."""
    query = sql.SQL(_HOLD_AT).format(_checkpoints(generation))
    await session.execute(query, (list(offsets), list(offsets.values())))


async def release(session: Session, *generations: Generation) -> None:
    """Let generations go on, also those that a killed process left held."""
    for each in generations:
        await session.execute(sql.SQL(_RELEASE).format(_checkpoints(each)))


def _checkpoints(generation: Generation) -> sql.Identifier:
    return sql.Identifier(generation.schema, "checkpoints")
