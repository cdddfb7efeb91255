"""A partition's place in its generation, and who may move it.

Guarantee: ``move`` is the first statement of the transaction that writes a batch's rows, and
changes nothing unless the owner is still the owner and the batch starts where the rows end.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import LiteralString

import msgspec
import psycopg

from projections.kernel.errors import FencedError, HeldError, SwappedError
from services.runtime.postgres import Session, in_one_trip

LOG_START = datetime(1970, 1, 1, tzinfo=UTC)
"""Logical time of a partition before its first record."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What else is known at a place, all of it a function of the log up to there.

    ``revisions``: definitions revision in force, by workspace. ``sources``: last sequence applied,
    by source. ``clocks``: what test clocks show, by workspace. ``stated``: the last revision whose
    newly named kinds of outcomes were stated, by workspace; ``stated_until``: the last customer,
    while that goes on. ``asked_from``: the record from which on a rule asks for a segment.
    ``joined_offset``: of the first membership not applied, in its topic, and ``joined_sequences``:
    the last ones applied, by source. ``sequence``: of the last output record. ``dead``: offsets of
    recent dead letters.
    """

    revisions: dict[str, int] = {}
    sources: dict[str, int] = {}
    clocks: dict[str, datetime] = {}
    stated: dict[str, int] = {}
    stated_until: str = ""
    asked_from: int | None = None
    joined_offset: int = 0
    joined_sequences: dict[str, int] = {}
    sequence: int = 0
    dead: tuple[int, ...] = ()


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a partition stands. ``record_id`` is that of the record before ``next_offset``.

    ``is_partway`` says that of what comes before the record at ``next_offset`` (timers due at its
    time) a part is applied; otherwise the rows are a function of ``next_offset`` alone. ``live``
    says whether outputs are put out: it changes hands with the checkpoint, so that no owner can be
    mistaken about it.
    """

    partition: int
    next_offset: int
    owner_epoch: int
    record_id: str | None
    logical_time: datetime
    progress: Progress
    live: bool
    is_partway: bool = False
    hold_at: int | None = None

    @property
    def end(self) -> int:
        """Where the record that is applied in part ends, or ``next_offset`` when none is."""
        return self.next_offset + self.is_partway


_TABLE = "checkpoints"

_CLAIM: LiteralString = """
UPDATE checkpoints SET owner_epoch = owner_epoch + 1, stopped = NULL WHERE partition = %s
RETURNING partition, next_offset, owner_epoch, record_id, logical_time, progress::text, live,
    is_partway, hold_at"""
_READ: LiteralString = """
SELECT partition, next_offset, owner_epoch, record_id, logical_time, progress::text, live,
    is_partway, hold_at
FROM checkpoints WHERE partition = %s"""
# Who may not move gives an offset of null, which the column refuses. An error, unlike a row not
# found, takes back what was sent together with this before anybody looked at its answer.
_MOVE: LiteralString = """
UPDATE checkpoints
SET next_offset = CASE WHEN next_offset = %s AND owner_epoch = %s
        AND (hold_at IS NULL OR hold_at >= %s) THEN %s::bigint END,
    record_id = %s, logical_time = %s, progress = %s::jsonb, is_partway = %s
WHERE partition = %s"""
_CUT_OFF: LiteralString = """
SELECT pg_terminate_backend(pid) FROM unnest(pg_blocking_pids(%s)) AS pid"""
_STOP: LiteralString = """
UPDATE checkpoints SET stopped = %s WHERE partition = %s AND owner_epoch = %s"""

_decode_progress = msgspec.json.Decoder(Progress).decode


async def claim(session: Session, partition: int) -> Checkpoint:
    """Take a partition over: whoever held it before can commit nothing from now on."""
    return await _one(session, _CLAIM, partition)


async def cut_off(session: Session, waiting: int) -> None:
    """End the sessions whose locks a server process waits for."""
    await session.execute(_CUT_OFF, (waiting,))


async def read(session: Session, partition: int) -> Checkpoint:
    """Read a partition's checkpoint without claiming it."""
    return await _one(session, _READ, partition)


async def move(session: Session, old: Checkpoint, new: Checkpoint) -> None:
    """Move a checkpoint, inside ``moving`` and before anything else is written."""
    await session.execute(
        _MOVE,
        (
            old.next_offset,
            old.owner_epoch,
            new.end,
            new.next_offset,
            new.record_id,
            new.logical_time,
            msgspec.json.encode(new.progress).decode(),
            new.is_partway,
            old.partition,
        ),
    )


@asynccontextmanager
async def moving(session: Session, old: Checkpoint, *, in_one: bool) -> AsyncGenerator[None]:
    """Run the transaction that moves a checkpoint and writes what belongs to that.

    Args:
        in_one: all of it goes out in one trip.

    Raises:
        FencedError: the partition has another owner or stands elsewhere.
        SwappedError: the generation became live or ceased to be.
        HeldError: an operator holds the generation before where it was to move.
    """
    try:
        async with in_one_trip(session) if in_one else session.transaction():
            yield
    except psycopg.IntegrityError as error:
        if error.diag.table_name != _TABLE:
            raise
        present = await read(session, old.partition)
        if present.live != old.live:
            raise SwappedError from error
        if present.owner_epoch == old.owner_epoch and present.next_offset == old.next_offset:
            raise HeldError from error
        raise FencedError from error


async def stop(session: Session, checkpoint: Checkpoint, reason: str) -> None:
    """Write why this partition stands still, for people to read."""
    await session.execute(_STOP, (reason, checkpoint.partition, checkpoint.owner_epoch))


async def _one(session: Session, statement: LiteralString, partition: int) -> Checkpoint:
    row = await (await session.execute(statement, (partition,))).fetchone()
    assert row is not None, "a generation has a checkpoint for every partition"
    return Checkpoint(
        partition=row[0],
        next_offset=row[1],
        owner_epoch=row[2],
        record_id=row[3],
        logical_time=row[4],
        progress=_decode_progress(row[5]),
        live=row[6],
        is_partway=row[7],
        hold_at=row[8],
    )


def after_outputs(checkpoint: Checkpoint, count: int) -> Checkpoint:
    """Say where a partition stands once so many outputs more have their sequences."""
    if not count:
        return checkpoint
    progress = checkpoint.progress
    return msgspec.structs.replace(
        checkpoint,
        progress=msgspec.structs.replace(progress, sequence=progress.sequence + count),
    )
