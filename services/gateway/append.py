"""Appending for many requests at once: what comes during a partition's append goes with the next.

Guarantee: a request's records of one partition are appended together, in order, and each answer
is an offset that Kafka acknowledged. What waits is bounded in count and bytes, and no request waits
longer than ``2 × APPEND_SECONDS``.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import Struct

from services.gateway.bounds import (
    APPEND_BYTES_MAX,
    APPEND_GROUP_BYTES_MAX,
    APPEND_RECORDS_MAX,
    APPEND_SECONDS,
)
from services.gateway.errors import OverloadedError
from services.runtime import metrics
from services.runtime.kafka.errors import KafkaUnavailableError
from services.runtime.kafka.producer import Ack, Outgoing, Producer

Offsets = Sequence[int]


class _Waiting(Struct, frozen=True):
    records: Sequence[Outgoing]
    size_bytes: int
    since: float
    answer: asyncio.Future[Offsets]


class Appender:
    """Appends to one topic; at most one append of a partition is under way."""

    def __init__(self, producer: Producer, topic: str, partitions: int) -> None:
        self._producer: Producer = producer
        self._topic: str = topic
        self._queues: list[list[_Waiting]] = [[] for _ in range(partitions)]
        self._tasks: list[asyncio.Task[None] | None] = [None] * partitions
        self._records: int = 0
        self._size_bytes: int = 0

    def append(self, partition: int, records: Sequence[Outgoing]) -> asyncio.Future[Offsets]:
        """Append records to a partition; the future answers each one's offset.

        It raises ``KafkaUnavailableError`` (nothing was appended) or ``OutcomeUnknownError``.

        Raises:
            OverloadedError: too much is waiting already; nothing was taken.
        """
        size_bytes = sum(len(record.value) for record in records)
        if (
            self._records + len(records) > APPEND_RECORDS_MAX
            or self._size_bytes + size_bytes > APPEND_BYTES_MAX
        ):
            raise OverloadedError("Too many events are waiting to be appended.")
        answer: asyncio.Future[Offsets] = asyncio.get_running_loop().create_future()
        self._queues[partition].append(_Waiting(records, size_bytes, time.monotonic(), answer))
        self._records += len(records)
        self._size_bytes += size_bytes
        if self._tasks[partition] is None:
            self._tasks[partition] = asyncio.create_task(self._serve(partition))
        return answer

    @property
    def waiting_records(self) -> int:
        """Records taken and not yet answered."""
        return self._records

    async def drain(self) -> None:
        """Return once nothing is waiting."""
        tasks = [task for task in self._tasks if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, partition: int) -> None:
        """Append what waits for a partition, group after group, until nothing does."""
        try:
            while group := self._take(partition):
                await self._append(partition, group)
        finally:
            self._tasks[partition] = None

    def _take(self, partition: int) -> list[_Waiting]:
        """The next group: whole requests, bounded in bytes; one that waited too long is let go."""
        queue = self._queues[partition]
        count, size_bytes = 0, 0
        for waiting in queue:
            if count and size_bytes + waiting.size_bytes > APPEND_GROUP_BYTES_MAX:
                break
            count += 1
            size_bytes += waiting.size_bytes
        group, self._queues[partition] = queue[:count], queue[count:]
        return group

    async def _append(self, partition: int, group: list[_Waiting]) -> None:
        oldest = time.monotonic() - APPEND_SECONDS
        late = [waiting for waiting in group if waiting.since < oldest]
        if late:
            self._refuse(late, KafkaUnavailableError("the append before took too long"))
            group = [waiting for waiting in group if waiting.since >= oldest]
        if not group:
            return
        records = [record for waiting in group for record in waiting.records]
        started = time.perf_counter()
        try:
            acks = await self._producer.append(
                self._topic, partition, records, deadline_seconds=APPEND_SECONDS
            )
        except Exception as error:  # noqa: BLE001 - each request that waits decides by itself
            self._refuse(group, error)
            return
        metrics.APPEND_SECONDS.observe(time.perf_counter() - started)
        offsets = list(_offsets(acks))
        start = 0
        for waiting in group:
            end = start + len(waiting.records)
            if not waiting.answer.done():
                waiting.answer.set_result(offsets[start:end])
            start = end
        self._let_go(group)

    def _refuse(self, group: list[_Waiting], error: Exception) -> None:
        for waiting in group:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        self._let_go(group)

    def _let_go(self, group: list[_Waiting]) -> None:
        for waiting in group:
            self._records -= len(waiting.records)
            self._size_bytes -= waiting.size_bytes


def _offsets(acks: list[tuple[Ack, int]]) -> Iterator[int]:
    """The offset of each record, in order."""
    return chain.from_iterable(
        range(ack.base_offset, ack.base_offset + count) for ack, count in acks
    )
