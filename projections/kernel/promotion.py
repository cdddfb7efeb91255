"""Making another generation the live one, and back: promote and rollback.

Guarantee: the outputs of the two join without a gap or a repeat. The live generation stands still
at an offset in each partition until its outbox is appended, the other one runs to exactly these
offsets, and one transaction hands over who is live, the sequences and what the relays know. Within
``PAUSE_SECONDS_MAX`` that is done or undone. The retired generation goes on silently, so that a
rollback is the same thing in reverse.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import LiteralString

import msgspec
from psycopg import sql

from projections.kernel.compare import Comparison, compare
from projections.kernel.differences import Differences, Emission, TooManyDifferencesError
from projections.kernel.generations import Generation
from projections.kernel.holds import ends_of, has_passed, hold_at, hold_here, release
from services.runtime.postgres import Session

PAUSE_SECONDS_MAX = 10.0
"""How long the live generation may stand still; past it everything goes on as before."""
POLL_SECONDS = 0.01


class PromotionRefusedError(Exception):
    """The generation cannot be made live as things stand; nothing was changed."""


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What was promoted: generations by number, and where in each partition they changed places.

    ``emitted_outputs`` were put out since what outputs describe differed.
    """

    live_generation: int
    retired_generation: int
    offsets: dict[str, int]
    emitted_outputs: int = 0


_PENDING: LiteralString = "SELECT count(*) FROM {}"
_LOCK: LiteralString = "SELECT partition, next_offset FROM {} ORDER BY partition FOR UPDATE"
_TAKE_OVER: LiteralString = """
UPDATE {next} n SET live = true, owner_epoch = n.owner_epoch + 1, hold_at = NULL,
    progress = jsonb_set(n.progress, '{{sequence}}', l.progress -> 'sequence')
FROM {live} l WHERE l.partition = n.partition"""
_RETIRE: LiteralString = """
UPDATE {} SET live = false, owner_epoch = owner_epoch + 1, hold_at = NULL"""
_FORGET_RELAYS: LiteralString = "DELETE FROM {}"
_TAKE_RELAYS: LiteralString = "INSERT INTO {} SELECT * FROM {}"
_RETIRED: LiteralString = """
UPDATE upshot.generations SET state = 'building', retired_at = now()
WHERE projection = %s AND generation = %s AND state = 'live'"""
_PROMOTED: LiteralString = """
UPDATE upshot.generations SET state = 'live', retired_at = NULL
WHERE projection = %s AND generation = %s AND state = 'building'"""


async def promote(
    reading: Session,
    steering: Session,
    live: Generation,
    candidate: Generation,
    *,
    differences: Differences | None = None,
    emit_difference: bool = False,
) -> Promotion:
    """Make ``candidate`` live if outputs describe what it believes, or shall by then.

    Equal at one place, equal for ever: both are functions of the same log. So the comparison does
    not stop the live one, and only the change of hands does, with what it takes to tell the rest.

    Args:
        reading, steering: as for ``compare``.
        differences: finds what differs in what outputs describe; None where they describe nothing
            that stands.
        emit_difference: put it out rather than refuse.

    Raises:
        CompareTimeoutError: a generation does not move.
        PromotionRefusedError: they differ, or did not meet in time; nothing was changed.
    """
    comparison = await compare(reading, steering, live, candidate)
    find = None if comparison.equal else differences
    try:
        async with asyncio.timeout(PAUSE_SECONDS_MAX):
            offsets = await _meet(steering, live, candidate)
            async with steering.transaction():
                await _swap(steering, live, candidate, offsets)
                emitted = 0
                if find is not None:
                    emission = Emission(steering, live, candidate)
                    found = await emission.find(find)
                    if found and not emit_difference:
                        raise PromotionRefusedError(_difference(comparison, len(found)))
                    await emission.put_out(found)
                    emitted = len(found)
    except TooManyDifferencesError as error:
        raise PromotionRefusedError(str(error)) from error
    except TimeoutError as error:
        raise PromotionRefusedError(
            f"generations {live.number} and {candidate.number} did not meet within "
            f"{PAUSE_SECONDS_MAX:.0f} s; everything goes on as before, so try again"
        ) from error
    finally:
        await release(steering, live, candidate)
    return Promotion(
        live_generation=candidate.number,
        retired_generation=live.number,
        offsets={str(partition): offset for partition, offset in offsets.items()},
        emitted_outputs=emitted,
    )


async def _meet(session: Session, live: Generation, candidate: Generation) -> dict[int, int]:
    """Hold both at the same offsets, the live one with nothing left to append."""
    await hold_here(session, candidate)
    goal = await ends_of(session, candidate.schema)
    await _until(lambda: has_passed(session, live.schema, goal))
    await hold_here(session, live)
    offsets = await ends_of(session, live.schema)
    await _until(lambda: has_passed(session, live.schema, offsets))
    await hold_at(session, candidate, offsets)
    await _until(lambda: has_passed(session, candidate.schema, offsets))
    await _until(lambda: _has_appended(session, live))
    return offsets


async def _swap(
    session: Session, live: Generation, candidate: Generation, offsets: dict[int, int]
) -> None:
    """Hand over inside one transaction; whoever owned a partition before is fenced by it."""
    ours, theirs = _table(live, "checkpoints"), _table(candidate, "checkpoints")
    for checkpoints in (ours, theirs):
        found = await session.execute(sql.SQL(_LOCK).format(checkpoints))
        if dict(await found.fetchall()) != offsets:
            raise PromotionRefusedError("a hold was taken away meanwhile; try again")
    if not await _has_appended(session, live):
        raise PromotionRefusedError("outputs came meanwhile; try again")
    await session.execute(sql.SQL(_TAKE_OVER).format(next=theirs, live=ours))
    await session.execute(sql.SQL(_RETIRE).format(ours))
    relays = _table(candidate, "relays")
    await session.execute(sql.SQL(_FORGET_RELAYS).format(relays))
    await session.execute(sql.SQL(_TAKE_RELAYS).format(relays, _table(live, "relays")))
    await session.execute(_RETIRED, (live.projection, live.number))
    await session.execute(_PROMOTED, (candidate.projection, candidate.number))


async def _has_appended(session: Session, generation: Generation) -> bool:
    query = sql.SQL(_PENDING).format(_table(generation, "outbox"))
    row = await (await session.execute(query)).fetchone()
    return row is not None and row[0] == 0


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(POLL_SECONDS)


def _difference(comparison: Comparison, count: int) -> str:
    tables = ", ".join(each.table for each in comparison.tables if not each.equal)
    return (
        f"generation {comparison.next_generation} differs from the live one, "
        f"{comparison.live_generation}, in {tables}: `upshot compare` shows rows. Outputs told "
        f"otherwise of {count:,}; --emit-difference makes it live and puts out what corrects them"
    )


def _table(generation: Generation, name: str) -> sql.Identifier:
    return sql.Identifier(generation.schema, name)
