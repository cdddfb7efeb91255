"""Waiting for what segments say of a place before the record there is applied.

Guarantee: a record at which a rule asks for a segment is applied when the live generation of
segments has passed it and what it put out until then was read; memberships apply at their own
places, so that lag, a rebuild or a promotion on either side leaves no trace. Where no rule asks,
nothing is read and no one waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from itertools import takewhile
from typing import LiteralString

import msgspec
from psycopg import errors, sql

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.memberships import MembershipChanged
from contracts.topics import SEGMENT_MEMBERSHIPS
from projections.kernel import generations
from projections.kernel.checkpoint import Checkpoint, Progress
from projections.kernel.errors import MembershipError
from projections.kernel.generations import Generation
from projections.kernel.ports import LogReader
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session, translated

UPSTREAM = "segments"
JOINED_MAX = 5_000
"""Memberships in memory: as many as records of a batch."""
WAIT_SECONDS_FIRST = 0.002
WAIT_SECONDS_MAX = 0.05
"""Between two looks at how far segments is."""

_PASSED: LiteralString = """
SELECT c.live,
    coalesce((SELECT min(o.first_offset) FROM {outbox} o WHERE o.partition = c.partition),
        c.next_offset),
    coalesce((SELECT r.next_offset FROM {relays} r WHERE r.partition = c.partition
        AND r.topic = %s AND r.target = c.partition), 0)
FROM {checkpoints} c WHERE c.partition = %s"""

_decode = codec.decoder(MembershipChanged).decode


class Joining(msgspec.Struct, frozen=True, gc=False):
    """A membership's change as read: ``next_offset`` is that of the topic after it."""

    next_offset: int
    record: CloudEvent
    change: MembershipChanged

    @property
    def at(self) -> datetime:
        """The instant that it happened at."""
        return self.change.at


class Covered(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a batch: the records before ``end`` need nothing more.

    ``last`` stands where no record is covered: how far what comes before the first one was read.
    """

    end: int
    joining: list[Joining]
    last: Joining | None


class Joins:
    """One partition's memberships, read by the partition's owner alone."""

    def __init__(self, reader: Callable[[str], LogReader], partition: int) -> None:
        self._reader = reader
        self._partition = partition
        self._live: Generation | None = None
        self._consumer: LogReader | None = None
        self._next_offset = 0
        self._read: deque[Joining] = deque()

    async def stop(self) -> None:
        """Let go of the topic."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def cover(self, session: Session, old: Checkpoint, last: int) -> Covered:
        """Wait until at least the next record is covered, however long that takes.

        Args:
            last: offset of the last record that is wanted.
        """
        first = old.next_offset
        wait = WAIT_SECONDS_FIRST
        passed, end = await self._passed(session)
        while passed <= first:
            await asyncio.sleep(wait)
            wait = min(wait * 2, WAIT_SECONDS_MAX)
            passed, end = await self._passed(session)
        await self._read_until(old.progress, end)
        joining = list(takewhile(lambda each: each.change.place.offset <= last, self._read))
        if self._next_offset >= end or len(joining) < len(self._read):
            return Covered(end=min(passed, last + 1), joining=joining, last=None)
        reached = max(joining, key=_place_of)
        stop = reached.change.place.offset + (reached.change.place.by == "event")
        return Covered(
            end=min(passed, last + 1, max(first, stop)),
            joining=joining,
            last=None if stop > first else reached,
        )

    async def _passed(self, session: Session) -> tuple[int, int]:
        """Say which records segments has passed, and where its output of them ends."""
        if self._live is None:
            self._live = await generations.live(session, UPSTREAM)
            if self._live is None:
                return 0, 0
        schema = self._live.schema
        tables = {
            name: sql.Identifier(schema, name) for name in ("outbox", "relays", "checkpoints")
        }
        query = sql.SQL(_PASSED).format(**tables)
        try:
            with translated():
                found = await session.execute(query, (SEGMENT_MEMBERSHIPS, self._partition))
                row = await found.fetchone()
        except errors.UndefinedTable:
            row = None
        if row is None or not row[0]:  # dropped, or another is live now
            self._live = None
            return 0, 0
        return row[1], row[2]

    async def _read_until(self, progress: Progress, end: int) -> None:
        while self._read and self._read[0].next_offset <= progress.joined_offset:
            self._read.popleft()
        if self._consumer is None:
            self._next_offset = progress.joined_offset
            if self._next_offset < end:
                self._consumer = self._reader(SEGMENT_MEMBERSHIPS)
                await self._consumer.assign({self._partition: self._next_offset})
        while self._consumer is not None and self._next_offset < end:
            room = JOINED_MAX - len(self._read)
            if room <= 0:
                return
            for found in await self._consumer.poll(self._partition, records_max=room):
                joining = _joining(found)
                self._next_offset = joining.next_offset
                self._read.append(joining)


def _joining(found: Incoming) -> Joining:
    try:
        record = codec.decode_record(found.value)
        return Joining(found.offset + 1, record, _decode(record.data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MembershipError(found.offset) from error


def _place_of(joining: Joining) -> tuple[int, bool, datetime]:
    place = joining.change.place
    return place.offset, place.by == "event", joining.at
