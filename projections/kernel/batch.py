"""Applying a batch of records: decode, resolve versions, load, fold, and commit in one transaction.

Guarantee: the rows, the outbox and the checkpoint of a batch commit together or not at all. A
record that cannot be applied is found by bisection and stands in the dead letters, written by the
same kind of transaction; all others are applied.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from contracts.definitions.catalogue import Snapshot
from contracts.versions import Change
from projections.kernel import checkpoint as checkpoints
from projections.kernel import dead_letters, outbox
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.dead_letters import DeadLetter
from projections.kernel.facts import FactsOfBatch
from projections.kernel.failures import Decision, decide, reason_of, remember_dead
from projections.kernel.outbox import OutboxRow, Outputs, source_of
from projections.kernel.projection import Definitions, Projection, Step
from projections.kernel.records import Decoded, read, record_id
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

    def __init__(
        self,
        projection: Projection[W],
        session: Session,
        definitions: Definitions,
        *,
        live: bool,
        partitions: int,
    ) -> None:
        self._projection = projection
        self._session = session
        self._definitions = definitions
        self._live = live
        self._partitions = partitions
        self._working = projection.working_set()
        self._last_snapshot = definitions.catalogue.at("", 0)

    def forget(self) -> None:
        """Drop what is held in memory, since the last transaction may not have committed."""
        self._working = self._projection.working_set()

    async def apply(self, old: Checkpoint, records: Sequence[Incoming]) -> list[Committed]:
        """Apply records that follow the checkpoint without a gap; answer each commit in order.

        Raises:
            DatabaseUnavailableError, FencedError, HeldError, TooManyDeadLettersError: nothing after
                the last answered commit was written; call ``forget`` before anything else.
        """
        try:
            return [await self._commit(old, records)]
        except Exception as error:
            if decide(error) is not Decision.BISECT:
                raise
            self.forget()
            if len(records) == 1:
                return [await self._bury(old, records[0], error)]
        middle = len(records) // 2
        first = await self.apply(old, records[:middle])
        return [*first, *await self.apply(first[-1].checkpoint, records[middle:])]

    async def _commit(self, old: Checkpoint, records: Sequence[Incoming]) -> Committed:
        reading = read(old, records)
        facts = FactsOfBatch(keeps_content=self._projection.keeps_content)
        for workspace, revision in reading.checkpoint.progress.revisions.items():
            await self._definitions.wait_for(workspace, revision)
        with translated():
            await facts.load(self._session, reading.decoded)
            steps = [
                self._step(old.partition, each, facts.change(each)) for each in reading.decoded
            ]
            await self._projection.load(self._session, self._working, steps)
            outputs = self._outputs(old)
            for step in steps:
                outputs.add(self._projection.apply(self._working, step))
            async with self._session.transaction():
                return await self._write(old, reading.checkpoint, facts, outputs)

    def _outputs(self, old: Checkpoint) -> Outputs:
        return Outputs(
            source=source_of(self._projection.name, old.partition),
            partition=old.partition,
            partitions=self._partitions,
            sequence=old.progress.sequence,
            live=self._live,
        )

    def _step(self, partition: int, decoded: Decoded, change: Change | None) -> Step:
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
        outputs.add(await self._projection.write(self._session, self._working, live=self._live))
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
        """Put one record into the dead letters, in the transaction that passes over it."""
        metrics.DEAD_LETTERS.labels(self._projection.name, reason_of(error)[0]).inc()
        letter = DeadLetter(
            projection=self._projection.name,
            partition=old.partition,
            offset=incoming.offset,
            at=max(old.logical_time, incoming.appended_at),
            reason=reason_of(error),
            key=incoming.key,
            value=incoming.value,
        )
        new = msgspec.structs.replace(
            old,
            next_offset=incoming.offset + 1,
            record_id=record_id(incoming),
            logical_time=letter.at,
            progress=msgspec.structs.replace(
                old.progress, dead=remember_dead(old.progress.dead, incoming.offset)
            ),
        )
        if self._live:
            new = _after_outputs(new, 1)
        with translated():
            async with self._session.transaction():
                await checkpoints.move(self._session, old, new)
                await dead_letters.insert(self._session, letter)
                if not self._live:
                    return Committed(checkpoint=new, outbox=None)
                records = dead_letters.encode(
                    letter,
                    source=source_of(self._projection.name, old.partition),
                    sequence=new.progress.sequence,
                )
                return await self._keep(old, new, records)


def _after_outputs(checkpoint: Checkpoint, count: int) -> Checkpoint:
    """The checkpoint with its sequence moved past so many outputs."""
    if not count:
        return checkpoint
    progress = checkpoint.progress
    return msgspec.structs.replace(
        checkpoint,
        progress=msgspec.structs.replace(progress, sequence=progress.sequence + count),
    )
