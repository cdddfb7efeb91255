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
from projections.kernel import beside_live, dead_letters, outbox
from projections.kernel import checkpoint as checkpoints
from projections.kernel.beside_live import Ended
from projections.kernel.checkpoint import Checkpoint, after_outputs
from projections.kernel.dead_letters import DeadLetter
from projections.kernel.errors import (
    AwaitedError,
    HeldError,
    InvalidRecordError,
    TooManyFiringsError,
)
from projections.kernel.facts import FactsOfBatch
from projections.kernel.failures import (
    Decision,
    decide,
    reason_of,
    remember_dead,
    speaks_of_the_processor,
)
from projections.kernel.fold import Fold
from projections.kernel.joins import Joins
from projections.kernel.merging import Merges, forward
from projections.kernel.outbox import OutboxRow, Outputs, source_of
from projections.kernel.plan import Plan, Stating
from projections.kernel.planner import Planner, load
from projections.kernel.projection import (
    Definitions,
    Feeding,
    Projection,
)
from projections.kernel.records import Decoded, ending_in, record_id
from projections.kernel.steps import Steps
from projections.kernel.timers import TIMERS_MAX, Armed, Timers
from services.runtime import metrics
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session, translated

W = TypeVar("W")

STATED_MAX = 1_000
"""Customers of whom one transaction tells what stands."""
ONE_TRIP_MAX = 100
"""Records and timers of a transaction that is sent in one trip: beyond, COPY is worth its own."""


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
        joins: Joins | None = None,
    ) -> None:
        self._projection = projection
        self._session = session
        self._definitions = definitions
        self._live = live
        self._partitions = partitions
        self._working = projection.working_set()
        self._timers = Timers(partition)
        self._merges = Merges(session, partition, partitions)
        self._feeding = projection if isinstance(projection, Feeding) else None
        self.planner = Planner(
            projection,
            session,
            definitions,
            timers=self._timers,
            merges=self._merges,
            joins=joins,
            live=live,
        )
        self._steps = Steps(partition, definitions, self._feeding)

    def forget(self) -> None:
        """Drop what is held in memory, since the last transaction may not have committed."""
        self._working = self._projection.working_set()
        self._timers.forget()
        self._merges.forget()

    async def next_due(self) -> datetime:
        """Say when the next timer of the log's own clock is due, at the earliest."""
        with translated():
            return await self._timers.next_due(self._session)

    async def apply(self, old: Checkpoint, records: Sequence[Incoming]) -> list[Committed]:
        """Apply records that follow the checkpoint without a gap; answer each commit in order.

        Raises:
            DatabaseUnavailableError, FencedError, HeldError, TooManyDeadLettersError: nothing after
                the last commit was written; call ``forget`` before anything else.
            AwaitedError: the first record waits for another partition; nothing was written.
        """
        done: list[Committed] = []
        held, ended = old, beside_live.NONE
        if not self._live:
            ended = await beside_live.ended_among(self._session, self._projection.name, records)
        try:
            for part, ended_here in beside_live.apart(records, ended):
                if ended_here:
                    await self._one_by_one(done, held, part, ended_here)
                else:
                    await self._apply(done, held, part)
                held = done[-1].checkpoint
        except (AwaitedError, HeldError):
            self.forget()
            if not done:
                raise
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
        await self._one_by_one(done, old, records, beside_live.NONE)

    async def _one_by_one(
        self, done: list[Committed], old: Checkpoint, records: Sequence[Incoming], ended: Ended
    ) -> None:
        """Apply one record and the timers before it, each in a transaction of its own."""
        held = old
        while held.next_offset == old.next_offset:
            committed = await self._one(held, records, ended)
            done.append(committed)
            held = committed.checkpoint

    async def _one(self, held: Checkpoint, records: Sequence[Incoming], ended: Ended) -> Committed:
        place = await self.planner.place_of_next(held, records[0]) if ended else None
        if place is not None and place in ended:
            return await self._bury(held, records[0], InvalidRecordError(*ended[place]))
        try:
            return await self._commit(held, records, timers_max=1)
        except Exception as error:
            if decide(error) is not Decision.BISECT:
                raise
            self.forget()
            return await self._bury(held, records[0], error)

    async def _commit(
        self, old: Checkpoint, records: Sequence[Incoming], timers_max: int
    ) -> Committed:
        """Apply records in one transaction, as many of them as the timers due before them allow.

        Args:
            timers_max: more than these fire in transactions of their own; where it is 1, each does.
        """
        try:
            return await self._try(old, records, timers_max)
        except TooManyFiringsError as error:  # timers have set others
            self.forget()
            before = records[: error.offset - old.next_offset]
            if before:
                return await self._commit(old, before, timers_max)
            if error.is_set_off:
                raise InvalidRecordError("too many timers", "set off at once") from error
            return await self._try(old, records, timers_max, is_ahead=True)

    async def _try(
        self,
        old: Checkpoint,
        records: Sequence[Incoming],
        timers_max: int,
        *,
        is_ahead: bool = False,
    ) -> Committed:
        plan = await self.planner.plan(old, records, timers_max, is_ahead=is_ahead)
        if plan.stating is not None:
            return await self._state(old, plan, plan.stating)
        with translated():
            reading, late = await self._merges.late(plan.reading)
            plan = msgspec.structs.replace(plan, reading=reading)
            facts = FactsOfBatch(old.partition, keeps_content=self._projection.keeps_content)
            await facts.load(self._session, plan.reading.decoded)
            steps = [self._steps.of(each, facts) for each in plan.reading.decoded]
            await load(self._projection, self._session, self._working, steps, plan)
            outputs = self._outputs(old)
            fold = Fold(
                self._projection,
                self._working,
                timers=self._timers,
                outputs=outputs,
                snapshot=self._definitions.catalogue.at,
                old=old,
                plan=plan,
                firings_max=timers_max if reading.checkpoint.is_partway else self.timers_max,
            )
            fold.run(steps)
            for forwarded in await forward(self._session, self._projection, late):
                outputs.put(forwarded)
            merge = reading.merge
            few = len(steps) + len(plan.due) + len(plan.joining) <= ONE_TRIP_MAX
            async with checkpoints.moving(self._session, old, in_one=few and merge is None):
                committed = await self._write(old, fold.checkpoint(), facts, outputs, merge)
                await dead_letters.end(self._session, old.partition, reading.ended)
        self._timers.settle()
        if merge is not None:
            self.forget()
        return committed

    async def _state(self, old: Checkpoint, plan: Plan, stating: Stating) -> Committed:
        """Tell what stands at the next customers, before the record that names its kinds."""
        assert self._feeding is not None, "only outcomes that come back are stated"
        outputs, progress = self._outputs(old), old.progress
        snapshot = self._definitions.catalogue.at(stating.workspace, stating.revision)
        moment = stating.moment(old, snapshot)
        with translated():
            found, last = await self._feeding.state(
                self._session,
                moment,
                stating.kinds,
                after=progress.stated_until,
                customers_max=STATED_MAX,
            )
            for output in found:
                outputs.put(output)
            stated = progress.stated
            if last is None:
                stated = {**stated, stating.workspace: stating.revision}
            progress = msgspec.structs.replace(progress, stated=stated, stated_until=last or "")
            new = msgspec.structs.replace(plan.reading.checkpoint, progress=progress)
            async with checkpoints.moving(self._session, old, in_one=True):
                moved = after_outputs(new, outputs.count)
                await checkpoints.move(self._session, old, moved)
                if not outputs.count:
                    return Committed(checkpoint=moved, outbox=None)
                return await self._keep(old, moved, outputs.encoded())

    def _outputs(self, old: Checkpoint) -> Outputs:
        return Outputs(
            source=source_of(self._projection.name, old.partition),
            partition=old.partition,
            partitions=self._partitions,
            sequence=old.progress.sequence,
            live=self._live,
            naming=self._feeding,
        )

    async def _write(
        self,
        old: Checkpoint,
        new: Checkpoint,
        facts: FactsOfBatch,
        outputs: Outputs,
        merge: Decoded | None,
    ) -> Committed:
        """Write inside the transaction; the checkpoint goes first so that a zombie changes nothing.

        It goes once more, for its sequence, where rows had to tell some of the outputs.
        """
        known = outputs.count
        moved = after_outputs(new, known)
        await checkpoints.move(self._session, old, moved)
        await facts.write(self._session)
        await self._timers.write(self._session)
        for output in await self._projection.write(self._session, self._working, live=self._live):
            outputs.put(output)
        if merge is not None:
            catalogue = self._definitions.catalogue
            for output in await self._merges.apply(self._projection, merge, catalogue.at):
                outputs.put(output)
        if outputs.count > known:
            before, moved = moved, after_outputs(new, outputs.count)
            await checkpoints.move(self._session, before, moved)
        if not outputs.count:
            return Committed(checkpoint=moved, outbox=None)
        return await self._keep(old, moved, outputs.encoded())

    async def _keep(self, old: Checkpoint, new: Checkpoint, records: bytes) -> Committed:
        """Keep output records with the checkpoint that has their sequences."""
        row = OutboxRow(
            sequence_first=old.progress.sequence + 1,
            first_offset=old.next_offset,
            records=records,
        )
        await outbox.insert(self._session, new.partition, row)
        return Committed(checkpoint=new, outbox=row)

    async def _bury(self, old: Checkpoint, incoming: Incoming, error: Exception) -> Committed:
        """Put a record, or the timer before it, into the dead letters.

        That is written in the transaction that passes over it. Where the record redrives a dead
        letter, that one has ended all the same.
        """
        metrics.DEAD_LETTERS.labels(self._projection.name, reason_of(error)[0]).inc()
        new, timer = await self._passed(old, incoming, error)
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
            new = after_outputs(new, 1)
        else:
            await beside_live.check(self._session, letter)
        redriven = ending_in(incoming, self._projection.name) if timer is None else None
        with translated():
            async with checkpoints.moving(self._session, old, in_one=True):
                await checkpoints.move(self._session, old, new)
                await self._timers.write(self._session)
                await dead_letters.insert(self._session, letter)
                if redriven is not None:
                    await dead_letters.end(self._session, old.partition, [redriven])
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

    async def _passed(
        self, old: Checkpoint, incoming: Incoming, error: Exception
    ) -> tuple[Checkpoint, Armed | None]:
        """Say where the partition stands after what cannot be applied, and which timer that is."""
        dead = old.progress.dead
        if speaks_of_the_processor(error):
            dead = remember_dead(dead, incoming.offset)
        try:
            plan = await self.planner.plan(old, [incoming], timers_max=1)
        except InvalidRecordError:
            plan = None
        if plan is not None and plan.due:
            first, checkpoint = plan.due[0], plan.reading.checkpoint
            progress = msgspec.structs.replace(checkpoint.progress, dead=dead)
            timer = self._timers.peek(first.clock, first.due)
            assert timer is not None, "what is due was read"
            self._timers.take(timer)
            return msgspec.structs.replace(checkpoint, progress=progress), timer
        passed = msgspec.structs.replace(
            old,
            next_offset=incoming.offset + 1,
            record_id=record_id(incoming),
            logical_time=max(old.logical_time, incoming.appended_at),
            is_partway=False,
            progress=msgspec.structs.replace(old.progress, dead=dead),
        )
        return passed, None
