"""Merges: a customer is closed in its own partition, and what it had is taken over in another.

Guarantee: which record closes a customer and which takes over from it follows from the log alone,
and each does so in a transaction of its own. A customer is closed once, for the survivor that this
record names, and taken over from once; whatever tells the same again, or another survivor, changes
nothing. What is told of a closed customer is passed on to its survivor.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import LiteralString

import msgspec
from msgspec import UNSET

from contracts import codec
from contracts.clocks import ClockAdvanced
from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Snapshot
from contracts.events import EventData, EventWithdrawn
from contracts.identifiers import event_id
from contracts.internal_events import CHAIN_DEPTH_MAX
from contracts.merges import CustomerMerged
from contracts.places import Position, parse_position
from contracts.topics import CUSTOMER_EVENTS
from contracts.versions import withdraw
from projections.kernel import binary, exchange, rows
from projections.kernel.errors import CHAIN_TOO_DEEP, AwaitedError, InvalidRecordError
from projections.kernel.facts import FACT_COLUMNS, fact_of
from projections.kernel.outbox import Forwarded
from projections.kernel.projection import Doubled, Forwarding, Late, Merging, Output, TakeOver
from projections.kernel.records import Decoded, Reading
from services.runtime.postgres import Session, translated

_ANY: LiteralString = """
SELECT EXISTS (SELECT FROM closed WHERE partition = %s)
    OR EXISTS (SELECT FROM closed WHERE taken_partition = %s)"""
_LATE: LiteralString = """
SELECT c.workspace, uuid_send(c.customer), uuid_send(c.survivor)
FROM unnest(%s, %s) AS k (workspace, customer)
JOIN closed c USING (workspace, customer)"""
_HEIRS: LiteralString = """
WITH RECURSIVE heirs AS (
    SELECT n.place, n.workspace, n.customer
    FROM unnest(%s, %s) WITH ORDINALITY AS n (workspace, customer, place)
    UNION ALL
    SELECT h.place, h.workspace, c.taken_by FROM heirs h JOIN closed c USING (workspace, customer)
    WHERE c.taken_by IS NOT NULL)
SELECT place, uuid_send(customer) FROM heirs"""
_CLOSE: LiteralString = """
INSERT INTO closed (workspace, customer, survivor, partition, record_offset, revision)
VALUES (%s, %s, %s, %s, %s, %s)"""
# Nobody reads the timers of a partition below zero.
_SET_ASIDE: LiteralString = """
UPDATE timers SET partition = -1 - partition WHERE workspace = %s AND customer = %s"""
_NEXT_OFFSET: LiteralString = "SELECT next_offset FROM checkpoints WHERE partition = %s"
_CLOSED: LiteralString = """
SELECT partition, revision FROM closed
WHERE workspace = %s AND customer = %s AND survivor = %s AND taken_by IS NULL"""
_DOUBLED: LiteralString = """
SELECT {} FROM facts f JOIN facts s USING (workspace, fact)
WHERE f.workspace = %s AND f.customer = %s AND f.deleted_at IS NULL AND NOT f.withdrawn
    AND s.customer = %s AND NOT s.withdrawn
ORDER BY f.record_offset, f.fact"""
_TAKEN: LiteralString = """
UPDATE closed SET taken_by = %s, taken_partition = %s, taken_offset = %s
WHERE workspace = %s AND customer = %s"""
_PLACE_FACTS: LiteralString = """
UPDATE facts SET partition = nullif(coalesce(partition, %s), %s)
WHERE workspace = %s AND customer = %s"""
_TAKE_TIMERS: LiteralString = """
UPDATE timers t SET customer = %s, partition = %s
WHERE t.workspace = %s AND t.customer = %s AND NOT EXISTS (
    SELECT FROM timers s WHERE s.workspace = t.workspace AND s.customer = %s
        AND s.kind = t.kind AND s.id = t.id)"""


class _Closed(msgspec.Struct, frozen=True):
    """In which partition a customer was closed, and the definitions revision in force there."""

    partition: int
    revision: int


class Merges:
    """The merges of one partition of a generation, as its owner meets them."""

    def __init__(self, session: Session, partition: int, partitions: int) -> None:
        self._session = session
        self._partition = partition
        self._partitions = partitions
        self._any: bool | None = None

    def forget(self) -> None:
        """Drop what is held in memory."""
        self._any = None

    async def ready(self, reading: Reading) -> Reading:
        """Say what is in force once a merge is applied, where a batch is one that can be.

        Raises:
            AwaitedError: it takes over from a customer that this generation has yet to close.
            InvalidRecordError: it is none.
        """
        merge = reading.merge
        if merge is None:
            return reading
        told = _told(merge)
        closed_at = self._checked(merge, told)
        if closed_at is None:
            return reading
        with translated():
            await _pass(self._session, closed_at)
            closed = await _closed(self._session, merge.record, told)
        if closed is None:
            return reading
        return _knowing(reading, merge, closed.revision)

    def _checked(self, merge: Decoded, told: CustomerMerged) -> Position | None:
        """Answer where the merged customer was closed; None of the record that closes it."""
        if told.closed_at is None:
            if merge.record.subject != told.merged or told.survivor == told.merged:
                raise InvalidRecordError("not a merge", "closes another customer, or for itself")
            return None
        try:
            closed_at = parse_position(told.closed_at)
        except ValueError as error:
            raise InvalidRecordError("not a merge", "closed nowhere") from error
        here = Position(CUSTOMER_EVENTS, self._partition, merge.offset)
        is_earlier = closed_at.partition != self._partition or closed_at < here
        if not is_earlier or closed_at.topic != here.topic or self._is_beyond(closed_at):
            raise InvalidRecordError("not a merge", "closed nowhere")
        if merge.record.subject == told.merged:
            raise InvalidRecordError("not a merge", "merged into itself")
        return closed_at

    def _is_beyond(self, position: Position) -> bool:
        return position.partition >= self._partitions

    async def late(self, reading: Reading) -> tuple[Reading, list[Late]]:
        """Part what is told of closed customers from what the model is to see.

        A withdrawal from the very customer whom the fact's holder was merged into is passed over.
        Where the partition has no part in any merge, nothing is asked.
        """
        if self._any is None:
            row = await (await self._session.execute(_ANY, (self._partition,) * 2)).fetchone()
            self._any = row is not None and row[0]
        if not self._any:
            return reading, []
        survivors = await _survivors(self._session, reading.decoded)
        moot = await _moot(self._session, reading.decoded)
        if not survivors and not moot:
            return reading, []
        kept: list[Decoded] = []
        late: list[Late] = []
        for decoded in reading.decoded:
            survivor = survivors.get((decoded.record.workspace, decoded.record.subject))
            if decoded.offset in moot:
                continue
            if survivor is None or isinstance(decoded.data, ClockAdvanced):
                kept.append(decoded)
            elif not _closes(decoded):
                late.append(self._late(decoded.record, decoded.data, survivor))
        merge = next((each for each in kept if each is reading.merge), None)
        return msgspec.structs.replace(reading, decoded=kept, merge=merge), late

    def _late(self, record: CloudEvent, told: EventData | CustomerMerged, survivor: str) -> Late:
        depth = 1 + (record.chaindepth if isinstance(record.chaindepth, int) else 0)
        if depth > CHAIN_DEPTH_MAX:  # also where two customers are closed for each other
            raise InvalidRecordError(CHAIN_TOO_DEEP, f"{depth} links")
        if record.redrivefor is not UNSET:
            raise InvalidRecordError("redriven for a closed customer", "merged meanwhile")
        passed = msgspec.structs.replace(record, subject=survivor, chaindepth=depth, sequence=UNSET)
        if isinstance(told, EventWithdrawn) and told.last_partition is None:
            told = msgspec.structs.replace(told, last_partition=self._partition)
            passed = msgspec.structs.replace(passed, data=codec.raw(told))
        return Late(record=passed, told=told, customer=record.subject)

    async def apply(
        self, projection: object, merge: Decoded, snapshot: Callable[[str, int], Snapshot]
    ) -> Sequence[Output]:
        """Close a customer, or take over from one, inside the kernel's transaction."""
        session, record = self._session, merge.record
        moment = TakeOver(
            partition=self._partition,
            offset=merge.offset,
            at=merge.at,
            record=record,
            snapshot=snapshot(record.workspace, merge.revision),
            told=_told(merge),
        )
        if moment.told.closed_at is None:
            await _close(session, moment)
            return ()
        closed = await _closed(session, moment.record, moment.told)
        if closed is None:
            return ()
        giver, taker = rows.customer_uuid(moment.merged), rows.customer_uuid(moment.record.subject)
        workspace = moment.record.workspace
        outputs: Sequence[Output] = ()
        if isinstance(projection, Merging):
            doubled = await _doubled(session, moment, snapshot)
            taking = msgspec.structs.replace(moment, doubled=doubled)
            outputs = await projection.take_over(session, taking)
        place = (moment.partition, workspace, giver)
        await session.execute(_PLACE_FACTS, (closed.partition, *place))
        await exchange.take(
            session, "facts", workspace=workspace, giver=moment.merged, taker=moment.record.subject
        )
        await session.execute(_TAKE_TIMERS, (taker, *place, taker))
        await session.execute(_TAKEN, (taker, moment.partition, moment.offset, workspace, giver))
        return outputs


async def forward(session: Session, projection: object, late: Sequence[Late]) -> list[Forwarded]:
    """Pass on what is told of closed customers, where the projection is the one that does."""
    if not late or not isinstance(projection, Forwarding):
        return []
    sealed_anew = await projection.seal_anew(session, late)
    return [
        Forwarded(msgspec.structs.replace(each.record, data=data))
        for each, data in zip(late, sealed_anew, strict=True)
    ]


def taken_alone(reading: Reading, first: int) -> int | None:
    """Say how many records a batch is cut to: those before its first merge, or this one alone.

    None where there is no merge. ``first`` is the first record's offset.
    """
    return None if reading.merge is None else (reading.merge.offset - first) or 1


def _told(merge: Decoded) -> CustomerMerged:
    assert isinstance(merge.data, CustomerMerged), "asked of merges only"
    for customer in (merge.data.merged, merge.data.survivor, merge.record.subject):
        binary.customer_key(customer)
    return merge.data


def _closes(decoded: Decoded) -> bool:
    return isinstance(decoded.data, CustomerMerged) and decoded.data.closed_at is None


async def _pass(session: Session, closed_at: Position) -> None:
    """Return if this generation has passed a position.

    Raises:
        AwaitedError: it has not yet.
    """
    row = await (await session.execute(_NEXT_OFFSET, (closed_at.partition,))).fetchone()
    if row is None or row[0] <= closed_at.offset:
        raise AwaitedError(str(closed_at))


async def _closed(session: Session, record: CloudEvent, told: CustomerMerged) -> _Closed | None:
    """Find where a customer was closed.

    None where it was closed for somebody else, or was taken over from.
    """
    merged, survivor = rows.customer_uuid(told.merged), rows.customer_uuid(told.survivor)
    cursor = await session.execute(_CLOSED, (record.workspace, merged, survivor))
    row = await cursor.fetchone()
    return None if row is None else _Closed(*row)


def _knowing(reading: Reading, merge: Decoded, revision: int) -> Reading:
    """The reading with the definitions in force that what comes over was judged by."""
    checkpoint, workspace = reading.checkpoint, merge.record.workspace
    known = checkpoint.progress.revisions
    if revision <= known.get(workspace, 0):
        return reading
    progress = msgspec.structs.replace(
        checkpoint.progress, revisions={**known, workspace: revision}
    )
    return msgspec.structs.replace(
        reading,
        checkpoint=msgspec.structs.replace(checkpoint, progress=progress),
        stamps=[*reading.stamps, (merge.offset, workspace, revision)],
    )


async def _survivors(session: Session, decoded: Sequence[Decoded]) -> Mapping[tuple[str, str], str]:
    named = {
        (each.record.workspace, each.record.subject)
        for each in decoded
        if not isinstance(each.data, ClockAdvanced)
    }
    keys = (
        binary.texts(workspace for workspace, _ in named),
        binary.uuids([binary.customer_key(customer) for _, customer in named]),
    )
    found = await (await session.execute(_LATE, keys)).fetchall()
    return {
        (workspace, binary.customer_id(customer)): binary.customer_id(survivor)
        for workspace, customer, survivor in found
    }


async def _moot(session: Session, decoded: Sequence[Decoded]) -> set[int]:
    """Find the withdrawals from customers who hold the fact, since its holder became one of them.

    Answers their offsets.
    """
    told = [(each, each.data.held_by) for each in decoded if isinstance(each.data, EventWithdrawn)]
    if not told:
        return set()
    keys = (
        binary.texts(each.record.workspace for each, _ in told),
        binary.uuids([binary.customer_key(holder) for _, holder in told]),
    )
    found = await (await session.execute(_HEIRS, keys)).fetchall()
    heirs = {(place, binary.customer_id(heir)) for place, heir in found}
    return {
        each.offset
        for place, (each, _) in enumerate(told, start=1)
        if (place, each.record.subject) in heirs
    }


async def _close(session: Session, moment: TakeOver) -> None:
    place = (moment.partition, moment.offset, moment.snapshot.revision)
    workspace, merged = moment.record.workspace, rows.customer_uuid(moment.merged)
    survivor = rows.customer_uuid(moment.told.survivor)
    await session.execute(_CLOSE, (workspace, merged, survivor, *place))
    await session.execute(_SET_ASIDE, (workspace, merged))


async def _doubled(
    session: Session, moment: TakeOver, snapshot: Callable[[str, int], Snapshot]
) -> tuple[Doubled, ...]:
    workspace = moment.record.workspace
    parameters = (
        workspace, rows.customer_uuid(moment.merged), rows.customer_uuid(moment.record.subject),
    )  # fmt: skip
    found = await (await session.execute(_DOUBLED.format(FACT_COLUMNS), parameters)).fetchall()
    doubled: list[Doubled] = []
    for row in found:
        (_, _, key), stored = fact_of(row)
        change = withdraw(stored, event_id(key), last_offset=stored.offset)
        doubled.append(Doubled(change=change, judged=snapshot(workspace, stored.revision)))
    return tuple(doubled)
