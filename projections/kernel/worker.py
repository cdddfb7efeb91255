"""A processor as a process: the one home of Faust, which hosts it.

Faust gives the worker: signals, supervision, start and stop in order, and the agent that consumes
the low-rate topic ``operations``. Records of ``customer.events`` do not pass through it: its
per-event path acknowledges what failed and commits past what is unfinished, so the hot path is a
service of the app that reads by itself (``reader``).

Guarantee: the process is ready only while every partition it owns moves.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedFunctionDecorator=false, reportUntypedBaseClass=false
# Faust and mode are untyped; nothing of theirs leaves this module.

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import faust
import structlog
import uvloop
from mode import Service
from tenacity import retry, retry_if_exception_type, wait_fixed

from contracts.topics import OPERATIONS
from projections.kernel import freshness, generations
from projections.kernel.differences import Differing
from projections.kernel.errors import ModelVersionError
from projections.kernel.generations import Generation
from projections.kernel.operations import Operator, Target, begin
from projections.kernel.projection import Projection
from projections.kernel.reader import GenerationReader
from services.runtime import metrics
from services.runtime.definitions import DefinitionsFollower
from services.runtime.health import HealthServer
from services.runtime.kafka.consumer import HEARTBEAT_MS, SESSION_TIMEOUT_MS
from services.runtime.kafka.errors import KafkaUnavailableError, TopicMismatchError
from services.runtime.kafka.producer import Producer
from services.runtime.kafka.topics import ensure_topics
from services.runtime.logging import configure_logging
from services.runtime.postgres import DatabaseUnavailableError, Session, connect, migrate_control
from services.runtime.settings import Settings, load_settings

W = TypeVar("W")

WATCH_SECONDS = 0.5
"""How often the process looks for new generations and operations."""
START_RETRY_SECONDS = 1.0
CRASH_SECONDS = 5.0
"""A crashed process is gone after this long. Faust's orderly end can take a minute; what is
committed needs no farewell, and whoever restarts the process waits for its exit."""
GC_THRESHOLD = 100_000
"""Allocations between collections: a batch makes many values and no cycles, and each collection
while one is held walks all of them (a third of the time at Python's default of 700)."""

_log = structlog.get_logger(__name__)


class Workload(Protocol[W]):
    """What a processor hosts: a projection, and what runs beside it in the same process."""

    @property
    def projection(self) -> Projection[W]:
        """The projection."""
        ...

    async def start(self) -> None:
        """Start what runs beside the projection."""
        ...

    async def stop(self) -> None:
        """Stop it."""
        ...

    def committed(self) -> None:
        """Hear that rows of the live generation were committed."""
        ...

    def not_ready(self) -> list[str]:
        """Say why what runs beside cannot do its work, a sentence each."""
        ...


class Alone:
    """A workload of a projection with nothing beside it."""

    def __init__(self, projection: Projection[W]) -> None:
        self.projection = projection

    async def start(self) -> None:
        """There is nothing to start."""

    async def stop(self) -> None:
        """There is nothing to stop."""

    def committed(self) -> None:
        """Nobody waits for the commit in this process."""

    def not_ready(self) -> list[str]:
        """Nothing beside can fail."""
        return []


def run(make: Callable[[Settings], Workload[W]]) -> None:
    """Run a processor until a signal ends it; ``make`` builds what it hosts from the settings."""
    settings = load_settings()
    workload = make(settings)
    name = workload.projection.name
    configure_logging(name, level=settings.log_level, log_format=settings.log_format)
    uvloop.install()
    app = _app(settings, name)
    processor = Processor(settings, workload)

    @app.agent(app.topic(settings.topic_prefix + OPERATIONS, value_serializer="raw"))
    async def carry_out(requests: faust.StreamT[bytes]) -> None:
        async for value in requests:
            await processor.take(value)

    worker = faust.Worker(
        app,
        processor,
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
        console_port=0,
        loglevel=settings.log_level,
    )
    worker.execute_from_commandline()


def _app(settings: Settings, name: str) -> faust.App:
    folder = settings.data_dir / "faust"  # empty; by default it is made where one stands
    folder.mkdir(parents=True, exist_ok=True)
    return faust.App(
        f"{settings.topic_prefix}upshot.{name}.operations",
        broker=[f"kafka://{each}" for each in settings.kafka.split(",")],
        store="memory://",
        datadir=folder,
        broker_session_timeout=SESSION_TIMEOUT_MS / 1000,
        broker_heartbeat_interval=HEARTBEAT_MS / 1000,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        value_serializer="raw",
        key_serializer="raw",
        consumer_auto_offset_reset="earliest",
    )


class Processor(Service, Generic[W]):
    """Fills every standing generation of one projection, and carries out its operations."""

    def __init__(self, settings: Settings, workload: Workload[W]) -> None:
        super().__init__()
        self._settings = settings
        self._workload = workload
        self._projection = workload.projection
        prefix = settings.topic_prefix
        self._definitions = DefinitionsFollower(settings.kafka, prefix=prefix)
        self._producer = Producer(
            settings.kafka, prefix=prefix, client_id=f"upshot-{self._projection.name}"
        )
        self._readers: dict[int, GenerationReader[W]] = {}
        self._unread: dict[int, str] = {}
        """Generations that stand and have no reader now, each with the reason."""
        self._health = HealthServer(settings.health_port, self.not_ready)
        self._control: Session | None = None
        self._operator: Operator | None = None
        self._running = False

    async def on_start(self) -> None:
        """Check the ground, then start; what time heals is waited for."""
        await self._health.__aenter__()
        try:
            await self._prepare()
        except (TopicMismatchError, ModelVersionError) as error:
            _log.error("this process refuses to start", error=str(error))
            sys.exit(1)
        await self._workload.start()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        self._running = True

    async def on_stop(self) -> None:
        """Stop reading first, then what reading needed."""
        self._running = False
        for reader in self._readers.values():
            await reader.stop()
        if self._operator is not None:
            await self._operator.stop()
        await self._workload.stop()
        await self._producer.stop()
        await self._definitions.stop()
        if self._control is not None:
            await self._control.close()
        await self._health.__aexit__(None, None, None)

    async def crash(self, reason: BaseException) -> None:
        """Be ready no more at once, and gone soon."""
        self._running = False
        leaving = threading.Timer(CRASH_SECONDS, os._exit, (1,))
        leaving.daemon = True
        leaving.start()
        await super().crash(reason)

    def not_ready(self) -> list[str]:
        """Say why this process cannot do its work, a sentence each."""
        if not self._running:
            return [f"{self._projection.name} is starting or ending"]
        reasons = [each for reader in self._readers.values() for each in reader.not_ready()]
        return [
            *self._definitions.not_understood,
            *self._unread.values(),
            *reasons,
            *self._workload.not_ready(),
        ]

    async def take(self, value: bytes) -> None:
        """Take a record of ``operations``, however long it takes to write it down."""
        while True:
            try:
                await begin(await self._session(), self._projection.name, value)
            except DatabaseUnavailableError:
                await asyncio.sleep(START_RETRY_SECONDS)
            else:
                return

    @retry(
        retry=retry_if_exception_type((KafkaUnavailableError, DatabaseUnavailableError)),
        wait=wait_fixed(START_RETRY_SECONDS),
    )
    async def _prepare(self) -> None:
        settings, projection = self._settings, self._projection
        await ensure_topics(
            settings.kafka, prefix=settings.topic_prefix, partitions=settings.partitions
        )
        await migrate_control(settings.postgres)
        await generations.ensure_live(
            await self._session(),
            projection.name,
            version=projection.version,
            partitions=settings.partitions,
            migrations=projection.migrations,
        )
        await self._definitions.start()
        await self._producer.start()
        self._operator = Operator(
            Target(
                projection=projection.name,
                version=projection.version,
                partitions=settings.partitions,
                migrations=projection.migrations,
                verify=projection.verify,
                differences=projection.differences if isinstance(projection, Differing) else None,
            ),
            conninfo=settings.postgres,
            kafka=settings.kafka,
            prefix=settings.topic_prefix,
            producer=self._producer,
        )

    async def _session(self) -> Session:
        if self._control is None or self._control.closed:
            self._control = await connect(self._settings.postgres)
        return self._control

    @Service.task
    async def _watch(self) -> None:
        """Read into every standing generation, and take up operations."""
        while not self.should_stop:
            if self._running and self._operator is not None:
                try:
                    session = await self._session()
                    await self._match(await generations.standing(session, self._projection.name))
                    await self._operator.look(session)
                    await self._measure()
                except (DatabaseUnavailableError, KafkaUnavailableError) as error:
                    _log.warning("generations cannot be looked up now", error=str(error))
            await self.sleep(WATCH_SECONDS)

    async def _match(self, standing: list[Generation]) -> None:
        """Start a reader for each generation that lacks one, stop those that were dropped."""
        numbers = {generation.number for generation in standing}
        for number in set(self._readers) - numbers:
            await self._readers.pop(number).stop()
        for number in set(self._unread) - numbers:
            del self._unread[number]
        for generation in standing:
            known = self._readers.get(generation.number)
            if known is not None:
                changed, known.generation = known.generation.state != generation.state, generation
                if changed:
                    await known.claim_again()
                continue
            if generation.model_version != self._projection.version:
                _log.warning(
                    "a generation of another model version is left alone",
                    generation=generation.schema,
                )
                continue
            reader = GenerationReader(
                self._projection,
                generation,
                kafka=self._settings.kafka,
                prefix=self._settings.topic_prefix,
                conninfo=self._settings.postgres,
                definitions=self._definitions,
                producer=self._producer,
                committed=self._workload.committed,
            )
            await reader.start()
            self._readers[generation.number] = reader
            self._unread.pop(generation.number, None)

    async def _measure(self) -> None:
        """Measure and note lag.

        A reader that Kafka does not answer gives way to one with a new client.
        """
        for number, reader in list(self._readers.items()):
            try:
                lags = await reader.lag()
            except KafkaUnavailableError:
                self._unread[number] = f"{reader.generation.schema} has no answer from Kafka"
                await self._readers.pop(number).stop()
                raise
            if reader.generation.state == "live":
                name = self._projection.name
                for partition, lag in lags.items():
                    metrics.LAG_RECORDS.labels(name, str(partition)).set(lag)
                await freshness.note(await self._session(), name, reader.applied_at(lags))
