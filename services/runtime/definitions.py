"""The topic ``definitions`` as this process has read it: from offset zero, by hand, for ever.

Guarantee: definitions are known by the topic only, in its order; a record that an interrupted
relay appended twice changes nothing. ``start`` returns once everything that stood in the topic when
it was called is known.
"""

import asyncio
import time

import msgspec
import structlog

from contracts import codec
from contracts.administration import DEFINITION_CHANGED, DefinitionChanged
from contracts.definitions.catalogue import Catalogue
from contracts.errors import RefusedError
from contracts.topics import DEFINITIONS
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.errors import KafkaUnavailableError

RECORDS_MAX = 1_000
"""Definitions read at once."""
WAIT_SECONDS_MAX = 10.0
"""How long a reader waits for a revision before it reports Kafka as unavailable."""
RETRY_SECONDS = 0.5
NOT_UNDERSTOOD = "is not understood"
"""In each reason why a process is not ready that writing or deleting a definition takes away."""

_PARTITION = 0
_decode = codec.decoder(DefinitionChanged).decode
_NOT_UNDERSTOOD = (
    msgspec.DecodeError,
    UnicodeDecodeError,
    ArithmeticError,
    RecursionError,
    RefusedError,
)
_log = structlog.get_logger(__name__)


class DefinitionsFollower:
    """Follows the topic until stopped; ``catalogue`` is what it knows.

    ``not_understood`` names the definitions that it made nothing of (written by a newer version,
    say): a process must not go on as if these were not there, so it is not ready. The others are
    known, and one that is written anew or deleted is understood again.
    """

    def __init__(self, bootstrap: str, *, prefix: str = "") -> None:
        self.catalogue = Catalogue()
        self._not_understood: dict[tuple[str, ...], str] = {}
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._next_offset = 0
        self._caught_up_at = float("-inf")
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read to the present end of the topic, then go on in the background.

        Raises:
            KafkaUnavailableError: no broker answered.
        """
        consumer = await self._open()
        try:
            await self._read_to_end(consumer)
        except BaseException:
            await consumer.stop()
            raise
        self._task = asyncio.create_task(self._follow(consumer))

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def not_understood(self) -> list[str]:
        """A sentence for each definition whose last record was not understood."""
        return list(self._not_understood.values())

    def age_seconds(self) -> float:
        """Seconds since the topic was last known to have nothing more."""
        return time.monotonic() - self._caught_up_at

    async def wait_for(self, workspace: str, revision: int) -> None:
        """Return once the workspace's definitions are known up to ``revision``.

        Raises:
            KafkaUnavailableError: the revision did not come in time.
        """
        if self.catalogue.latest_revision(workspace) >= revision:
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX), self._changed:
                await self._changed.wait_for(
                    lambda: self.catalogue.latest_revision(workspace) >= revision
                )
        except TimeoutError as error:
            known = self.catalogue.latest_revision(workspace)
            raise KafkaUnavailableError(
                f"definitions of {workspace} are known to {known}, not to {revision}"
            ) from error

    async def _open(self) -> Consumer:
        consumer = Consumer(self._bootstrap, DEFINITIONS, prefix=self._prefix)
        await consumer.assign({_PARTITION: self._next_offset})
        return consumer

    async def _read_to_end(self, consumer: Consumer) -> None:
        end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
        while self._next_offset < end:
            await self._read_some(consumer)
        self._caught_up_at = time.monotonic()

    async def _follow(self, consumer: Consumer | None) -> None:
        while True:
            try:
                consumer = consumer or await self._open()
                await self._read_some(consumer)
                await self._read_to_end(consumer)
            except KafkaUnavailableError:
                if consumer is not None:
                    await consumer.stop()
                consumer = None
                await asyncio.sleep(RETRY_SECONDS)
            except asyncio.CancelledError:
                if consumer is not None:
                    await consumer.stop()
                raise

    async def _read_some(self, consumer: Consumer) -> None:
        records = await consumer.poll(_PARTITION, records_max=RECORDS_MAX)
        for record in records:
            self._apply(record.value, record.offset)
            self._next_offset = record.offset + 1
        if records:
            async with self._changed:
                self._changed.notify_all()

    def _apply(self, value: bytes, record_at: int) -> None:
        key: tuple[str, ...] = (str(record_at),)
        name = f"definition record {record_at}"
        try:
            record = codec.decode_record(value)
            if record.type != DEFINITION_CHANGED:
                return
            change = _decode(record.data)
            key = (record.workspace, change.kind, change.name)
            name = f"{change.kind} {change.name} of {record.workspace} (record {record_at})"
            spec = codec.decode_stored(change.spec)
            self.catalogue.apply(
                record.workspace, record.definitionsrevision, change.kind, change.name, spec
            )
        except _NOT_UNDERSTOOD as error:
            self._not_understood[key] = f"{name} {NOT_UNDERSTOOD}: {error}"
            _log.error("a definition in the topic is not understood", record=record_at)
        else:
            self._not_understood.pop(key, None)
