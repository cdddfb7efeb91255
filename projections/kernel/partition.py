"""One partition of one generation, owned by this process until it is revoked.

Guarantee: nothing is applied before the checkpoint was claimed, the record before ``next_offset``
was read again and its id found as remembered. Errors that time heals are retried without limit,
each time from what Postgres says is committed; what time does not heal stops the partition with
its reason written down.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import msgspec
import structlog

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel import checkpoint as checkpoints
from projections.kernel.batch import Applier, Committed, record_id
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.errors import AwaitedError, DivergedError, HeldError
from projections.kernel.failures import Decision, decide
from projections.kernel.joins import Joins
from projections.kernel.outbox import OutboxRow, Relay
from projections.kernel.ports import LogAppender, LogReader
from projections.kernel.projection import Definitions, Projection
from projections.kernel.ticker import Ticker
from services.runtime.clock import Clock, SystemClock
from services.runtime.kafka.consumer import Incoming
from services.runtime.kafka.errors import not_cancelled
from services.runtime.kafka.producer import Outgoing
from services.runtime.postgres import (
    DatabaseUnavailableError,
    Session,
    connect,
    translated,
)

W = TypeVar("W")

RECORDS_MAX = 5_000
"""Records of one transaction when behind: larger ones gain nothing measurable."""
SMALL_BATCH_MAX = 500
"""Records of a batch that is applied at once; a larger one waits for its turn."""
LARGE_BATCHES_MAX = 3
"""Large batches of a generation in work at once in this process: two keep two cores busy, the
third waits for disks. Each holds about 30 MB."""
RELAY_ROWS_MAX = 8
"""Outbox rows handed to the relay and not yet appended; the next batch waits for room."""
RETRY_SECONDS_MAX = 1.0
RETRY_SECONDS_FIRST = 0.1
HOLD_SECONDS = 0.05
"""How often a held partition looks whether it may go on."""
RECLAIM_SECONDS = 7.0
"""How long a fenced owner waits: longer than a group session, so a real loss shows first."""
CLAIM_SECONDS = 3.0
"""How long a claim waits for a transaction of whoever lost the partition."""
TICK_SECONDS = 5.0
"""How long the append of a tick may take; another follows."""
PROBE_TRIES_MAX = 40
"""Polls for the record before ``next_offset`` before Kafka counts as unavailable."""

_log = structlog.get_logger(__name__)


class Wiring(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the partitions of one reader share."""

    conninfo: str
    schema: str
    partitions: int
    consumer: LogReader
    definitions: Definitions
    producer: LogAppender
    reader_of: Callable[[str], LogReader]
    report: Callable[[int, str | None], None]
    """Told why a partition does not move now (a sentence), or None when it does."""
    applied: Callable[[int, Checkpoint], None]
    """Told after each commit: records applied, and the checkpoint now."""
    committed: Callable[[], None]
    """Told after each commit of a live generation, for those who wait for its rows."""
    clock: Clock = SystemClock()
    """The machine's, by which it is seen that something may be due."""
    turns: asyncio.Semaphore = msgspec.field(
        default_factory=lambda: asyncio.Semaphore(LARGE_BATCHES_MAX)
    )
    """Taken by each large batch."""


class PartitionOwner(Generic[W]):
    """Runs one partition of a generation from ``start`` to ``end``."""

    def __init__(self, projection: Projection[W], wiring: Wiring, partition: int) -> None:
        self._projection = projection
        self._wiring = wiring
        self._partition = partition
        self._task: asyncio.Task[None] | None = None
        self._ends = False

    def start(self) -> None:
        """Own the partition from now on."""
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Let the partition go; nothing of it is applied here after."""
        self._ends = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        """Claim, verify, apply; start over after what time heals."""
        wait = RETRY_SECONDS_FIRST
        while True:
            try:
                await self._own()
            except Exception as error:  # noqa: BLE001 - decided about just below
                if self._ends:  # a task group raises a child's error and forgets the cancellation
                    return
                _forget_cancellation()
                decision = decide(error)
                self._wiring.report(self._partition, f"{type(error).__name__}: {error}")
                _log.warning(
                    "a partition does not move",
                    projection=self._projection.name,
                    partition=self._partition,
                    decision=decision.value,
                    error=type(error).__name__,
                    detail=str(error) or type(error).__doc__,
                )
                if decision is Decision.STOP:
                    await self._write_down(error)
                    return
                wait = RECLAIM_SECONDS if decision is Decision.RECLAIM else wait
            await asyncio.sleep(wait)
            wait = min(wait * 2, RETRY_SECONDS_MAX)

    async def _own(self) -> None:
        wiring = self._wiring
        async with (
            await connect(wiring.conninfo, schema=wiring.schema) as session,
            await connect(wiring.conninfo, schema=wiring.schema) as relaying,
        ):
            with translated():
                for each in (session, relaying):
                    await prefer_key_lookups(each)
                held = await self._claim(session, relaying)
            await self._verify(held)
            relay = _RelayTask(self._projection.name, wiring, relaying, held)
            ticker = Ticker(self._projection.name, self._append, wiring.clock)
            joins = Joins(wiring.reader_of, self._partition)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(relay.run())
                    tasks.create_task(self._follow(session, held, relay, ticker, joins))
                    if held.live:
                        tasks.create_task(ticker.run())
            except* Exception as group:
                raise group.exceptions[0] from group
            finally:
                await joins.stop()

    async def _claim(self, session: Session, other: Session) -> Checkpoint:
        """Take the partition over, cutting off whoever keeps it locked for too long.

        A process that was frozen while it sent a transaction keeps its locks, and no time limit of
        Postgres ends that: to the server a statement is still on its way.
        """
        claiming = asyncio.create_task(checkpoints.claim(session, self._partition))
        try:
            while not (await asyncio.wait([claiming], timeout=CLAIM_SECONDS))[0]:
                await checkpoints.cut_off(other, session.info.backend_pid)
            return claiming.result()
        finally:
            claiming.cancel()

    async def _append(self, tick: CloudEvent) -> None:
        outgoing = Outgoing(tick.subject.encode(), codec.encode(tick))
        await self._wiring.producer.append(
            CUSTOMER_EVENTS, self._partition, [outgoing], deadline_seconds=TICK_SECONDS
        )

    async def _verify(self, held: Checkpoint) -> None:
        """Read the record before ``next_offset`` again; go on only if its id stands there."""
        consumer = self._wiring.consumer
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        if end < held.next_offset:
            raise DivergedError(
                f"partition {self._partition} ends at {end}, the checkpoint is {held.next_offset}"
            )
        if not held.next_offset:
            consumer.resume_at(self._partition, 0)
            return
        consumer.resume_at(self._partition, held.next_offset - 1)
        before = await self._one_record(consumer)
        if before.offset != held.next_offset - 1 or record_id(before) != held.record_id:
            raise DivergedError(
                f"partition {self._partition} has another record at {held.next_offset - 1}"
            )

    async def _one_record(self, consumer: LogReader) -> Incoming:
        for _ in range(PROBE_TRIES_MAX):
            for record in await consumer.poll(self._partition, records_max=1):
                return record
        raise TimeoutError(f"no record of partition {self._partition} came")

    async def _follow(
        self,
        session: Session,
        held: Checkpoint,
        relay: "_RelayTask",
        ticker: Ticker,
        joins: Joins,
    ) -> None:
        wiring = self._wiring
        applier = Applier(
            self._projection,
            session,
            wiring.definitions,
            live=held.live,
            partition=self._partition,
            partitions=wiring.partitions,
            joins=joins,
        )
        wiring.report(self._partition, None)
        wiring.applied(0, held)
        while True:
            ticker.know(await applier.next_due(), held)
            records = await wiring.consumer.poll(self._partition, records_max=SMALL_BATCH_MAX)
            if not records:
                continue
            ticker.busy()
            if records[0].offset != held.next_offset:
                raise DivergedError(
                    f"partition {self._partition} goes on at {records[0].offset}, "
                    f"the checkpoint is {held.next_offset}"
                )
            with not_cancelled():
                while records:
                    held, records = await self._in_turn(applier, held, records, relay)
                    if records:
                        held = await self._present_hold(session, held)

    async def _in_turn(
        self,
        applier: Applier[W],
        held: Checkpoint,
        records: list[Incoming],
        relay: "_RelayTask",
    ) -> tuple[Checkpoint, list[Incoming]]:
        """Apply a small batch at once, a large one in its turn; answer what is held back.

        A partition takes its turn when its last outputs are appended, so that one large outbox row
        of each is in memory at most.
        """
        if len(records) < SMALL_BATCH_MAX:
            return await self._apply(applier, held, records, relay)
        await relay.rows.join()
        async with self._wiring.turns:
            room = RECORDS_MAX - len(records)
            if room and held.hold_at is None:
                more = await self._wiring.consumer.poll(
                    self._partition, records_max=room, timeout_ms=0
                )
                records = [*records, *more]
            return await self._apply(applier, held, records, relay)

    async def _apply(
        self,
        applier: Applier[W],
        held: Checkpoint,
        records: list[Incoming],
        relay: "_RelayTask",
    ) -> tuple[Checkpoint, list[Incoming]]:
        """Apply the records before the hold of an operator; answer those that are held back.

        One that waits for another partition is held back too, with those after it.
        """
        now = records
        if held.hold_at is not None:
            now = [each for each in records if each.offset < held.hold_at]
        if not now:
            return held, records
        try:
            commits = await applier.apply(held, now)
        except (HeldError, AwaitedError):
            return held, records
        for commit in commits:
            await self._after(held, commit, relay)
            held = commit.checkpoint
        return held, records[held.next_offset - records[0].offset :]

    async def _present_hold(self, session: Session, held: Checkpoint) -> Checkpoint:
        """Look after a while where the generation is held, if it still is.

        Raises:
            HeldError: the partition does not stand where it was thought to: start over.
        """
        await asyncio.sleep(HOLD_SECONDS)
        with translated():
            present = await checkpoints.read(session, self._partition)
        if present != msgspec.structs.replace(held, hold_at=present.hold_at):
            raise HeldError
        return present

    async def _after(self, held: Checkpoint, commit: Committed, relay: "_RelayTask") -> None:
        if commit.outbox is not None:
            await relay.rows.put(commit.outbox)
        count = commit.checkpoint.next_offset - held.next_offset
        self._wiring.applied(count, commit.checkpoint)
        self._wiring.committed()

    async def _write_down(self, error: Exception) -> None:
        """Write why the partition stands still; a fenced owner writes nothing."""
        with suppress(DatabaseUnavailableError):
            session = await connect(self._wiring.conninfo, schema=self._wiring.schema)
            try:
                with translated():
                    present = await checkpoints.read(session, self._partition)
                    await checkpoints.stop(session, present, f"{_kind(error)}: {error}")
            finally:
                await session.close()


class _RelayTask:
    """Relays one partition's outbox rows behind its batches."""

    def __init__(self, projection: str, wiring: Wiring, session: Session, held: Checkpoint) -> None:
        self.rows: asyncio.Queue[OutboxRow] = asyncio.Queue(RELAY_ROWS_MAX)
        self._live = held.live
        self._relay = Relay(
            session,
            wiring.producer,
            wiring.reader_of,
            projection=projection,
            partition=held.partition,
        )

    async def run(self) -> None:
        """Append what an earlier owner left, then each row as it comes."""
        if not self._live:
            return
        with not_cancelled(), translated():
            await self._relay.recover()
            while True:
                await self._relay.send(await self.rows.get())
                self.rows.task_done()


async def prefer_key_lookups(session: Session) -> None:
    """Make every join of this session a lookup by key, planned once: sets of keys come from us."""
    await session.execute(
        "SELECT set_config('enable_hashjoin', 'off', false),"
        " set_config('enable_mergejoin', 'off', false),"
        " set_config('enable_seqscan', 'off', false),"
        " set_config('jit', 'off', false),"
        " set_config('plan_cache_mode', 'force_generic_plan', false)"
    )


def _forget_cancellation() -> None:
    """Take back the wish to end that a failed task group leaves on its own task."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _kind(error: Exception) -> str:
    return "diverged" if isinstance(error, DivergedError) else "stopped"
