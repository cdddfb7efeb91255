"""Carrying out what operators request of a projection: rebuild, promote, redrive and so on.

Guarantee: a request is carried out by one process at a time and to its end, also when the process
that began it was killed: what began is known by a row, and who carries it out by a lock.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import LiteralString

import msgspec
import structlog

from contracts import codec
from contracts.administration import (
    OPERATION_ENDED,
    OperationEnded,
)
from contracts.cloudevent import CloudEvent
from contracts.identifiers import derived_id
from contracts.topics import CUSTOMER_EVENTS, OPERATIONS
from projections.kernel import generations, requested
from projections.kernel.compare import CompareTimeoutError, compare
from projections.kernel.differences import Differences
from projections.kernel.generations import Generation
from projections.kernel.holds import offsets_of, release
from projections.kernel.promotion import Promotion, PromotionRefusedError, promote
from projections.kernel.redrive import end_letters
from projections.kernel.requested import Progress, Running, begin
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.errors import KafkaUnavailableError, OutcomeUnknownError
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.postgres import (
    DatabaseUnavailableError,
    Session,
    allow_long_statements,
    connect,
    translated,
)

PROGRESS_SECONDS = 0.25
"""How often a rebuild's progress is written down."""
FOLLOWING_SECONDS = 5.0
"""A generation that is no further behind the log than this has been rebuilt and follows."""
APPEND_SECONDS = 10.0
OVERLOOKED_SECONDS = 5.0
"""After this long a request that nobody took is looked for in the topic: after an outage of the
broker Faust's consumer may stand still while its agent seems alive."""
RECORDS_MAX = 1_000
"""Records of the topic read at once."""

_log = structlog.get_logger(__name__)


class RequestRefusedError(Exception):
    """The request cannot be carried out as things stand; the message says what to do."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The projection whose operations these are."""

    projection: str
    version: int
    partitions: int
    migrations: Path
    verify: Callable[[Session], Awaitable[list[str]]]
    differences: Differences | None = None


_OVERLOOKED: LiteralString = """
SELECT count(*) FROM upshot.operations WHERE projection = %s AND state = 'requested'
    AND requested_at < now() - make_interval(secs => %s)"""
_END: LiteralString = """
UPDATE upshot.operations SET state = %s, report = %s::jsonb, ended_at = %s
WHERE id = %s AND state = 'running'"""
_LOCK: LiteralString = "SELECT pg_try_advisory_lock(hashtextextended(%s, 1))"
_LOCK_HOLDS: LiteralString = "SELECT pg_try_advisory_lock(hashtextextended(%s, 2))"


class Operator:
    """Carries out the running operations of one projection, each as a task of its own."""

    def __init__(
        self, target: Target, *, conninfo: str, kafka: str, prefix: str, producer: Producer
    ) -> None:
        self._target = target
        self._conninfo = conninfo
        self._kafka = kafka
        self._prefix = prefix
        self._producer = producer
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._look_again_at = 0.0

    async def look(self, session: Session) -> None:
        """Take up what is running and in nobody's hands."""
        self._tasks = {each: task for each, task in self._tasks.items() if not task.done()}
        found = await requested.running(session, self._target.projection)
        await self._take_overlooked(session)
        for running in found:
            if running.id not in self._tasks:
                self._tasks[running.id] = asyncio.create_task(self._take_up(running))

    async def _take_overlooked(self, session: Session) -> None:
        """Read the topic by hand when the agent took no notice of a request for a while."""
        if time.monotonic() < self._look_again_at:
            return
        projection = self._target.projection
        with translated():
            row = await (
                await session.execute(_OVERLOOKED, (projection, OVERLOOKED_SECONDS))
            ).fetchone()
        self._look_again_at = time.monotonic() + OVERLOOKED_SECONDS
        if row is None or not row[0]:
            return
        consumer = Consumer(self._kafka, OPERATIONS, prefix=self._prefix)
        await consumer.assign({0: 0})
        try:
            offset, end = 0, (await consumer.end_offsets([0]))[0]
            while offset < end:
                for record in await consumer.poll(0, records_max=RECORDS_MAX):
                    await begin(session, projection, record.value)
                    offset = record.offset + 1
        finally:
            await consumer.stop()

    async def stop(self) -> None:
        """Leave what is running to another process, or to the next start."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _take_up(self, running: Running) -> None:
        try:
            session = await connect(self._conninfo)
            try:
                with translated():
                    if await _lock(session, running.id):
                        await self._carry_out(session, running)
            finally:
                await session.close()
        except (DatabaseUnavailableError, KafkaUnavailableError, OutcomeUnknownError) as error:
            _log.warning("an operation will be tried again", operation=running.id, error=str(error))

    async def _carry_out(self, session: Session, running: Running) -> None:
        try:
            report = await self._report_of(session, running)
        except (RequestRefusedError, PromotionRefusedError, CompareTimeoutError) as error:
            await self._end(session, running, "failed", codec.encode({"reason": str(error)}))
        else:
            await self._end(session, running, "succeeded", report)

    async def _report_of(self, session: Session, running: Running) -> bytes:
        match running.verb:
            case "rebuild":
                return await self._rebuild(session, running)
            case "compare":
                return await self._compare(session, running)
            case "promote" | "rollback":
                return await self._promote(session, running)
            case "drop":
                return await self._drop(session, running)
            case "verify":
                return await self._verify(session)
            case "redrive" | "discard":
                return await self._end_letters(session, running)

    async def _rebuild(self, session: Session, running: Running) -> bytes:
        target = self._target
        number = running.generation
        if number is None:
            made = await generations.make_next(
                session,
                target.projection,
                version=target.version,
                partitions=target.partitions,
                migrations=target.migrations,
            )
            number = made.number
            await requested.note(session, running.id, Progress(generation=number))
        consumer = Consumer(self._kafka, CUSTOMER_EVENTS, prefix=self._prefix)
        await consumer.assign(dict.fromkeys(range(target.partitions), 0))
        try:
            return await self._follow(session, running, number, consumer)
        finally:
            await consumer.stop()

    async def _follow(
        self, session: Session, running: Running, number: int, consumer: Consumer
    ) -> bytes:
        """Wait until the generation follows the log closely, noting how far it is.

        With traffic some record is always on its way: to follow is to pass, within
        ``FOLLOWING_SECONDS``, the ends that the log had.
        """
        partitions = range(self._target.partitions)
        goal, goal_at = await consumer.end_offsets(partitions), time.monotonic()
        while True:
            generation = await self._find(session, number)
            if (reason := await generations.standstill(session, generation)) is not None:
                raise RequestRefusedError(f"generation {number} stands still: {reason}")
            offsets = await offsets_of(session, generation.schema)
            ends = await consumer.end_offsets(partitions)
            progress = Progress(
                generation=number,
                applied_records=sum(offsets.values()),
                total_records=sum(ends.values()),
            )
            await requested.note(session, running.id, progress)
            if all(offsets[partition] >= end for partition, end in goal.items()):
                if time.monotonic() - goal_at < FOLLOWING_SECONDS:
                    return codec.encode(progress)
                goal, goal_at = ends, time.monotonic()
            await asyncio.sleep(PROGRESS_SECONDS)

    async def _compare(self, session: Session, running: Running) -> bytes:
        candidate = await self._find(session, running.generation)
        return await self._beside_live(session, candidate, compare)

    async def _promote(self, session: Session, running: Running) -> bytes:
        """Make a generation live; carried out again, after its end was not told, it is done."""
        candidate = await self._chosen(session, running)
        if running.is_begun and candidate.state == "live":
            retired = await generations.last_retired(session, candidate.projection)
            done = Promotion(
                live_generation=candidate.number, retired_generation=retired or 0, offsets={}
            )
            return codec.encode(done)
        begun = Progress(
            generation=candidate.number, emit_difference=running.emit_difference, is_begun=True
        )
        await requested.note(session, running.id, begun)
        work = partial(
            promote,
            differences=self._target.differences,
            emit_difference=running.emit_difference,
        )
        return await self._beside_live(session, candidate, work)

    async def _chosen(self, session: Session, running: Running) -> Generation:
        """Find the generation that becomes live: a rollback's was live, a promote's never."""
        name = self._target.projection
        if running.generation is not None:
            return await self._find(session, running.generation)
        if running.verb == "rollback":
            number = await generations.last_retired(session, name)
            if number is None:
                raise RequestRefusedError(f"{name} has no generation that was live before")
            return await self._find(session, number)
        standing = await generations.standing(session, name)
        fresh = [each for each in standing if each.state == "building" and not each.is_retired]
        if not fresh:
            raise RequestRefusedError(
                f"{name} has no generation that was never live: run `upshot rebuild {name}` first, "
                f"or name one by --generation (`upshot rollback {name}` takes the last one back)"
            )
        return fresh[-1]

    async def _beside_live(
        self,
        session: Session,
        candidate: Generation,
        work: Callable[[Session, Session, Generation, Generation], Awaitable[msgspec.Struct]],
    ) -> bytes:
        """Do what holds generations, with the live one and another, when nothing else does."""
        projection = self._target.projection
        live = await generations.live(session, projection)
        if live is None or candidate.number == live.number:
            raise RequestRefusedError(f"generation {candidate.number} is the live one itself")
        taken = await (await session.execute(_LOCK_HOLDS, (projection,))).fetchone()
        if taken is None or not taken[0]:
            raise RequestRefusedError(
                f"generations of {projection} are being compared or promoted: try again after it"
            )
        await release(session, live, candidate)
        reading = await connect(self._conninfo)
        try:
            return codec.encode(await work(reading, session, live, candidate))
        finally:
            await reading.close()

    async def _drop(self, session: Session, running: Running) -> bytes:
        candidate = await self._find(session, running.generation)
        if not await generations.drop(session, candidate):
            raise RequestRefusedError(
                f"generation {candidate.number} of {candidate.projection} is {candidate.state}; "
                "only one that is being built can be dropped"
            )
        return codec.encode({"generation": candidate.number})

    async def _verify(self, session: Session) -> bytes:
        live = await generations.live(session, self._target.projection)
        assert live is not None, "a processor runs only with a live generation"
        reading = await connect(self._conninfo, schema=live.schema)
        try:
            await allow_long_statements(reading)
            broken = await self._target.verify(reading)
        finally:
            await reading.close()
        return codec.encode({"generation": live.number, "broken": broken})

    async def _end_letters(self, session: Session, running: Running) -> bytes:
        live = await generations.live(session, self._target.projection)
        assert live is not None, "a processor runs only with a live generation"
        redrive = running.verb == "redrive"
        ended = await end_letters(session, self._producer, live, running.letters, redrive=redrive)
        return codec.encode(ended)

    async def _find(self, session: Session, number: int | None) -> Generation:
        """Find a generation by number, or the newest one beside the live one."""
        standing = await generations.standing(session, self._target.projection)
        building = [each for each in standing if each.state == "building"]
        if number is None and building:
            return building[-1]
        for each in standing:
            if each.number == number:
                return each
        name = self._target.projection
        if number is None:
            raise RequestRefusedError(
                f"{name} has no generation beside the live one: run `upshot rebuild {name}` first"
            )
        raise RequestRefusedError(
            f"{name} has no generation {number}: `upshot projections` lists those that stand"
        )

    async def _end(self, session: Session, running: Running, state: str, report: bytes) -> None:
        ended_at = datetime.now(tz=UTC)
        outcome = OperationEnded(
            operation=running.id,
            projection=self._target.projection,
            verb=running.verb,
            state="succeeded" if state == "succeeded" else "failed",
            report=msgspec.Raw(report),
        )
        record = CloudEvent(
            id=derived_id("ended_", running.id),
            source=f"{self._target.projection}/operations",
            type=OPERATION_ENDED,
            subject=self._target.projection,
            time=ended_at,
            workspace="",
            recordedtime=ended_at,
            definitionsrevision=0,
            causationid=running.id,
            data=codec.raw(outcome),
        )
        outgoing = Outgoing(self._target.projection.encode(), codec.encode(record))
        await self._producer.append(OPERATIONS, 0, [outgoing], deadline_seconds=APPEND_SECONDS)
        await session.execute(_END, (state, report.decode(), ended_at, running.id))
        _log.info("an operation ended", operation=running.id, verb=running.verb, state=state)


async def _lock(session: Session, operation: str) -> bool:
    """Take an operation into this session's hands, until the session closes."""
    row = await (await session.execute(_LOCK, (operation,))).fetchone()
    return row is not None and bool(row[0])
