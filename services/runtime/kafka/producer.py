"""Appending whole batches to a partition, acknowledged by all replicas, under a deadline.

Guarantee: ``append`` answers only what Kafka acknowledged. When the deadline passes the outcome is
unknown and said to be; the client behind it is replaced, since aiokafka's idempotent producer
never gives up on a batch and stays dead after an out-of-order sequence.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiokafka is untyped; what leaves this module is typed.

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from contracts.topics import RECORD_MAX_BYTES
from services.runtime.kafka.closing import let_go
from services.runtime.kafka.errors import (
    KafkaUnavailableError,
    OutcomeUnknownError,
    RecordTooLargeError,
)

BATCH_BYTES_MAX = RECORD_MAX_BYTES - 64 * 1024
"""Largest batch: what a topic takes, less room for the batch's own header."""
START_SECONDS = 5.0
"""How long a new client may take to reach a broker."""
STOP_SECONDS = 2.0
"""How long a client may take to stop; a stuck one is abandoned."""
REQUEST_TIMEOUT_MS = 5_000
"""One produce request; Kafka's default of 40 s outlives every deadline of ours."""


UNKNOWN_LEADER = -1


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """Where a batch stands: its first record's offset, and the log's own append time."""

    base_offset: int
    appended_at: datetime


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A record to append: key and value as bytes, headers where it has any."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Producer:
    """Appends batches, each to one partition, in the order of the calls for that partition."""

    def __init__(self, bootstrap: str, *, prefix: str = "", client_id: str = "upshot") -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._client_id = client_id
        self._client: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._failed_at = float("-inf")
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Reach a broker; raises ``KafkaUnavailableError`` when none answers."""
        await self._connected()

    async def stop(self) -> None:
        """Let go of the client; what is not acknowledged by now has an unknown outcome."""
        self._replace(self._client)
        if self._closing:
            await asyncio.wait(self._closing, timeout=STOP_SECONDS)

    async def append(
        self, topic: str, partition: int, records: Iterable[Outgoing], *, deadline_seconds: float
    ) -> list[tuple[Ack, int]]:
        """Append records in order; answers each batch's ack with its count of records.

        Raises:
            KafkaUnavailableError: nothing was appended.
            OutcomeUnknownError: not acknowledged within the deadline.
            RecordTooLargeError: a record larger than a batch; nothing was appended.
        """
        outcomes = await self.append_all(
            topic, {partition: records}, deadline_seconds=deadline_seconds
        )
        outcome = outcomes[partition]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def append_all(
        self,
        topic: str,
        records: Mapping[int, Iterable[Outgoing]],
        *,
        deadline_seconds: float,
    ) -> dict[int, list[tuple[Ack, int]] | Exception]:
        """Append to several partitions at once, so that a broker gets one request for all of its.

        Args:
            topic: its logical name.
            records: by partition, each in order.
            deadline_seconds: of the whole.

        Returns:
            For each partition what ``append`` would answer, or the error that it would raise.

        Raises:
            KafkaUnavailableError: nothing was appended anywhere.
        """
        client = await self._connected()
        waiting: dict[int, list[tuple[asyncio.Future[object], int]] | Exception] = {}
        try:
            async with asyncio.timeout(deadline_seconds):
                for partition, each in records.items():
                    waiting[partition] = await self._send(client, topic, partition, each)
                for sent in waiting.values():
                    for future, _ in [] if isinstance(sent, Exception) else sent:
                        if not future.done():  # most often one request is for all of them
                            await asyncio.wait((future,))
        except TimeoutError:
            self._replace(client)
        outcomes = {partition: _outcome(topic, waiting.get(partition)) for partition in records}
        if any(isinstance(each, OutcomeUnknownError) for each in outcomes.values()):
            self._replace(client)
        return outcomes

    def lane(self, topic: str, partition: int) -> int:
        """The broker that leads a partition, as far as is known (-1: unknown).

        Appends of one lane go in one request; it has one under way at a time.
        """
        if self._client is None:
            return UNKNOWN_LEADER
        cluster = self._client.client.cluster
        leader = cluster.leader_for_partition(TopicPartition(self._prefix + topic, partition))
        return UNKNOWN_LEADER if leader is None else leader

    async def _send(
        self, client: AIOKafkaProducer, topic: str, partition: int, records: Iterable[Outgoing]
    ) -> list[tuple[asyncio.Future[object], int]] | Exception:
        """Hand a partition's batches to the client; an error is this partition's alone."""
        try:
            return [
                (await client.send_batch(batch, self._prefix + topic, partition=partition), count)
                for batch, count in _batches(client, records)
            ]
        except RecordTooLargeError as error:
            return error
        except MessageSizeTooLargeError:
            return RecordTooLargeError(topic)
        except KafkaError as error:
            return OutcomeUnknownError(f"{topic}: {error}")

    async def _connected(self) -> AIOKafkaProducer:
        if self._client is not None:
            return self._client
        asked_at = time.monotonic()
        async with self._starting:
            if self._failed_at > asked_at:  # whoever waited shares the failure, not a turn each
                raise KafkaUnavailableError("no broker answered")
            if self._client is None:
                self._client = await self._new_client()
            return self._client

    async def _new_client(self) -> AIOKafkaProducer:
        client = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=BATCH_BYTES_MAX,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                await client.start()
        except (KafkaError, TimeoutError, OSError) as error:
            await _close(client)
            self._failed_at = time.monotonic()
            raise KafkaUnavailableError(str(error)) from error
        return client

    def _replace(self, client: AIOKafkaProducer | None) -> None:
        """Put a client aside once; the next append builds another."""
        if client is None or self._client is not client:
            return
        self._client = None
        task = asyncio.create_task(_close(client))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _batches(client: AIOKafkaProducer, records: Iterable[Outgoing]) -> list[tuple[object, int]]:
    batches: list[tuple[object, int]] = []
    builder, count = client.create_batch(), 0
    for record in records:
        if not _append(builder, record):
            if not count:
                raise RecordTooLargeError
            batches.append((builder, count))
            builder, count = client.create_batch(), 0
            if not _append(builder, record):
                raise RecordTooLargeError
        count += 1
    if count:
        batches.append((builder, count))
    return batches


def _append(builder: BatchBuilder, record: Outgoing) -> bool:
    headers = list(record.headers)
    made = builder.append(key=record.key, value=record.value, timestamp=None, headers=headers)
    return made is not None


def _outcome(
    topic: str, sent: list[tuple[asyncio.Future[object], int]] | Exception | None
) -> list[tuple[Ack, int]] | Exception:
    """What became of a partition's batches; None where the deadline came before they were sent."""
    if isinstance(sent, Exception):
        return sent
    if sent is None or not all(future.done() for future, _ in sent):
        return OutcomeUnknownError(topic)
    acks: list[tuple[Ack, int]] = []
    for future, count in sent:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, MessageSizeTooLargeError):
            return RecordTooLargeError(topic)
        if error is not None or future.cancelled():
            return OutcomeUnknownError(f"{topic}: {error}")
        acks.append((_ack(future.result()), count))
    return acks


def _ack(metadata: object) -> Ack:
    offset, milliseconds = metadata.offset, metadata.timestamp  # pyright: ignore[reportAttributeAccessIssue]
    return Ack(base_offset=offset, appended_at=datetime.fromtimestamp(milliseconds / 1000, tz=UTC))


async def _close(client: AIOKafkaProducer) -> None:
    try:
        with suppress(Exception):  # a client whose broker is gone fails in many ways while closing
            async with asyncio.timeout(STOP_SECONDS):
                await client.stop()
    finally:
        let_go(client)
