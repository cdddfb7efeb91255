"""Applying a batch of records: decode, resolve versions, load, fold, and commit in one transaction.

Guarantee: the rows, the outbox and the checkpoint of a batch commit together or not at all. A
record that cannot be applied is found by bisection and stands in the dead letters, written by the
same kind of transaction; all others are applied.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from contracts import codec
from contracts.clocks import ClockAdvanced
from contracts.definitions.catalogue import Snapshot
from projections.kernel import checkpoint as checkpoints
from projections.kernel import dead_letters, outbox
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.dead_letters import DeadLetter
from projections.kernel.errors import InvalidRecordError
from projections.kernel.facts import FactsOfBatch
from projections.kernel.failures import Decision, decide, reason_of, remember_dead
from projections.kernel.fold import Fold
from projections.kernel.outbox import OutboxRow, Outputs, source_of
from projections.kernel.partway import clocks_moved, cut
from projections.kernel.projection import Definitions, Projection, Step, Timed
from projections.kernel.records import Decoded, Reading, read, record_id
from projections.kernel.timers import TIMERS_MAX, Armed, Order, Timers
from services.runtime import metrics
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session, translated

W = TypeVar("W")


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction committed: the checkpoint now, and the outbox row to relay."""

    checkpoint: Checkpoint
    outbox: OutboxRow | None


class Applier(Generic[W]):
    """Applies batches of one partition to one generation, on a session of its own."""

    timers_max = TIMERS_MAX

    def __init__(
        self,
        projection: Projection[W],
        session: Session,
        definitions: Definitions,
        *,
        live: bool,
        partition: int,
        partitions: int,
    ) -> None:
        self._projection = projection
        self._session = session
        self._definitions = definitions
        self._live = live
        self._partitions = partitions
        self._working = projection.working_set()
        self._timers = Timers(partition)
        self._last_snapshot = definitions.catalogue.at("", 0)

    def forget(self) -> None:
        """Drop what is held in memory, since the last transaction may not have committed."""
        self._working = self._projection.working_set()
        self._timers.forget()

    async def next_due(self) -> datetime:
        """Say when the next timer of the log's own clock is due, at the earliest."""
        with translated():
            return await self._timers.next_due(self._session)

    async def apply(self, old: Checkpoint, records: Sequence[Incoming]) -> list[Committed]:
        """Apply records that follow the checkpoint without a gap; answer each commit in order.

        Raises:
            DatabaseUnavailableError, FencedError, HeldError, TooManyDeadLettersError: nothing after
                the last commit was written; call ``forget`` before anything else.
        """
        done: list[Committed] = []
        await self._apply(done, old, records)
        return done

    async def _apply(
        self, done: list[Committed], old: Checkpoint, records: Sequence[Incoming]
    ) -> None:
        held, left = old, records
        while left:
            try:
                committed = await self._commit(held, left, self.timers_max)
            except Exception as error:
                if decide(error) is not Decision.BISECT:
                    raise
                self.forget()
                await self._search(done, held, left)
                return
            done.append(committed)
            held = committed.checkpoint
            left = left[held.next_offset - left[0].offset :]

    async def _search(
        self, done: list[Committed], old: Checkpoint, records: Sequence[Incoming]
    ) -> None:
        """Apply records of which one, or a timer before it, cannot be applied."""
        if len(records) > 1:
            middle = len(records) // 2
            await self._apply(done, old, records[:middle])
            await self._apply(done, done[-1].checkpoint, records[middle:])
            return
        held = old
        while held.next_offset == old.next_offset:
            try:
                committed = await self._commit(held, records, timers_max=1)
            except Exception as error:
                if decide(error) is not Decision.BISECT:
                    raise
                self.forget()
                committed = await self._bury(held, records[0], error)
            done.append(committed)
            held = committed.checkpoint

    async def _commit(
        self, old: Checkpoint, records: Sequence[Incoming], timers_max: int
    ) -> Committed:
        """Apply records in one transaction, as many of them as the timers due before them allow.

        Args:
            timers_max: more than these fire in transactions of their own; where it is 1, each does.
        """
        reading, horizon, due = await self._read(old, records, timers_max)
        for workspace, revision in reading.checkpoint.progress.revisions.items():
            await self._definitions.wait_for(workspace, revision)
        with translated():
            facts = FactsOfBatch(keeps_content=self._projection.keeps_content)
            await facts.load(self._session, reading.decoded)
            steps = [self._step(old.partition, each, facts) for each in reading.decoded]
            await self._load(steps, due)
            outputs = self._outputs(old)
            Fold(
                self._projection,
                self._working,
                timers=self._timers,
                outputs=outputs,
                snapshot=self._definitions.catalogue.at,
                old=old,
                reading=reading,
                horizon=horizon,
            ).run(steps)
            async with self._session.transaction():
                committed = await self._write(old, reading.checkpoint, facts, outputs)
        self._timers.settle()
        return committed

    async def _read(
        self, old: Checkpoint, records: Sequence[Incoming], timers_max: int
    ) -> tuple[Reading, Order | None, list[Armed]]:
        """Decode what one transaction takes; answer the timers that fire in it, and their last."""
        reading = read(old, records)
        until = clocks_moved(old, reading.checkpoint)
        with translated():
            due = await self._timers.load(self._session, until, limit=timers_max)
        horizons = {
            clock: waiting[timers_max - 1].order
            for clock, waiting in due.items()
            if len(waiting) > timers_max or (timers_max == 1 and waiting)
        }
        horizon = None
        if horizons:
            reading, horizon = cut(old, records, reading, horizons)
        return reading, horizon, [each for waiting in due.values() for each in waiting]

    async def _load(self, steps: Sequence[Step | None], due: Sequence[Armed]) -> None:
        if due:
            assert isinstance(self._projection, Timed), "who sets timers can fire them"
            timers = [each.timer for each in due]
            await self._projection.load_due(self._session, self._working, timers)
        known = [step for step in steps if step is not None]
        await self._projection.load(self._session, self._working, known)

    def _outputs(self, old: Checkpoint) -> Outputs:
        return Outputs(
            source=source_of(self._projection.name, old.partition),
            partition=old.partition,
            partitions=self._partitions,
            sequence=old.progress.sequence,
            live=self._live,
        )

    def _step(self, partition: int, decoded: Decoded, facts: FactsOfBatch) -> Step | None:
        """Make a record's step; None of one that sets a clock."""
        if isinstance(decoded.data, ClockAdvanced):
            return None
        change = facts.change(decoded)
        record, revision = decoded.record, decoded.revision
        snapshot = self._last_snapshot
        if snapshot.revision != revision or snapshot.workspace != record.workspace:
            snapshot = self._snapshot(record.workspace, revision)
        judged = snapshot
        if change is not None and change.stored is not None and change.stored.revision != revision:
            judged = self._definitions.catalogue.at(record.workspace, change.stored.revision)
        return Step(
            partition=partition,
            offset=decoded.offset,
            at=decoded.at,
            record=record,
            data=decoded.data,
            snapshot=snapshot,
            change=change,
            judged=judged,
        )

    def _snapshot(self, workspace: str, revision: int) -> Snapshot:
        self._last_snapshot = self._definitions.catalogue.at(workspace, revision)
        return self._last_snapshot

    async def _write(
        self, old: Checkpoint, new: Checkpoint, facts: FactsOfBatch, outputs: Outputs
    ) -> Committed:
        """Write inside the transaction; the checkpoint goes first so that a zombie changes nothing.

        It goes once more, for its sequence, where rows had to tell some of the outputs.
        """
        known = outputs.count
        moved = _after_outputs(new, known)
        await checkpoints.move(self._session, old, moved)
        await facts.write(self._session)
        await self._timers.write(self._session)
        for output in await self._projection.write(self._session, self._working, live=self._live):
            outputs.put(output)
        if outputs.count > known:
            before, moved = moved, _after_outputs(new, outputs.count)
            await checkpoints.move(self._session, before, moved)
        if not outputs.count:
            return Committed(checkpoint=moved, outbox=None)
        return await self._keep(old, moved, outputs.encoded())

    async def _keep(self, old: Checkpoint, new: Checkpoint, records: bytes) -> Committed:
        """Keep output records with the checkpoint that has their sequences."""
        row = OutboxRow(sequence_first=old.progress.sequence + 1, records=records)
        await outbox.insert(self._session, new.partition, row)
        return Committed(checkpoint=new, outbox=row)

    async def _bury(self, old: Checkpoint, incoming: Incoming, error: Exception) -> Committed:
        """Put a record, or the timer before it, into the dead letters.

        That is written in the transaction that passes over it.
        """
        metrics.DEAD_LETTERS.labels(self._projection.name, reason_of(error)[0]).inc()
        new, timer = await self._passed(old, incoming)
        letter = DeadLetter(
            projection=self._projection.name,
            partition=old.partition,
            offset=incoming.offset,
            at=new.logical_time,
            reason=reason_of(error),
            key=incoming.key if timer is None else timer.timer.customer.encode(),
            value=incoming.value if timer is None else codec.encode(timer.record(0)),
            timer="" if timer is None else timer.record(0).id,
        )
        if self._live:
            new = _after_outputs(new, 1)
        with translated():
            async with self._session.transaction():
                await checkpoints.move(self._session, old, new)
                await self._timers.write(self._session)
                await dead_letters.insert(self._session, letter)
                committed = Committed(checkpoint=new, outbox=None)
                if self._live:
                    records = dead_letters.encode(
                        letter,
                        source=source_of(self._projection.name, old.partition),
                        sequence=new.progress.sequence,
                    )
                    committed = await self._keep(old, new, records)
        self._timers.settle()
        return committed

    async def _passed(self, old: Checkpoint, incoming: Incoming) -> tuple[Checkpoint, Armed | None]:
        """Say where the partition stands after what cannot be applied, and which timer that is."""
        dead = remember_dead(old.progress.dead, incoming.offset)
        try:
            reading, _, due = await self._read(old, [incoming], timers_max=1)
        except InvalidRecordError:
            due = []
        else:
            if due:
                progress = msgspec.structs.replace(reading.checkpoint.progress, dead=dead)
                timer = self._timers.take(due[0].clock, due[0].due)
                return msgspec.structs.replace(reading.checkpoint, progress=progress), timer
        passed = msgspec.structs.replace(
            old,
            next_offset=incoming.offset + 1,
            record_id=record_id(incoming),
            logical_time=max(old.logical_time, incoming.appended_at),
            is_partway=False,
            progress=msgspec.structs.replace(old.progress, dead=dead),
        )
        return passed, None


def _after_outputs(checkpoint: Checkpoint, count: int) -> Checkpoint:
    """The checkpoint with its sequence moved past so many outputs."""
    if not count:
        return checkpoint
    progress = checkpoint.progress
    return msgspec.structs.replace(
        checkpoint,
        progress=msgspec.structs.replace(progress, sequence=progress.sequence + count),
    )
