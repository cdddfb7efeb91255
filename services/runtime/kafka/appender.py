"""Appending for many requests at once: what comes while an append is under way goes with the next.

An append costs broker and gateway about the same for one record as for a hundred. So to a broker
one begins every ``APPEND_INTERVAL_SECONDS`` at most; where none was under way, or much is waiting,
it begins at once.

Guarantee: a request's records of one partition are appended together, in order, and each answer
is an offset that Kafka acknowledged. What waits is bounded in count and bytes, and no request waits
longer than ``2 × APPEND_SECONDS``.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct

from services.runtime import metrics
from services.runtime.kafka.errors import KafkaUnavailableError, OverloadedError
from services.runtime.kafka.producer import Ack, Outgoing, Producer

APPEND_SECONDS: Final = 5.0
"""One append to Kafka; with the wait for the one before it, a request waits twice this."""
APPEND_GROUP_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one append to a broker, so that the deadline covers a bounded amount."""
APPEND_GROUP_BYTES_MIN: Final = 64 * 1024
"""What waits for no more to come with it: a hundred events or so."""
APPEND_INTERVAL_SECONDS: Final = 0.005
"""Between the beginnings of two small appends to a broker, and what it adds to an answer at most:
as long as Kafka's own producers wait for more (``linger.ms``)."""
APPEND_RECORDS_MAX: Final = 100_000
"""Records waiting or in flight in one process."""
APPEND_BYTES_MAX: Final = 64 * 1024 * 1024

Offsets = Sequence[int]


class _Waiting(Struct, frozen=True, gc=False):
    partition: int
    records: Sequence[Outgoing]
    size_bytes: int
    since: float
    answer: asyncio.Future[Offsets]


class _Lane:
    """What waits for one broker; ``task`` appends it. ``began_at`` is when it last did."""

    __slots__ = ("began_at", "size_bytes", "task", "waiting")

    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []
        self.size_bytes: int = 0
        self.began_at: float = 0.0
        self.task: asyncio.Task[None] | None = None


class Appender:
    """Appends to one topic; at most one append to a broker is under way."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer: Producer = producer
        self._topic: str = topic
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._lanes: dict[int, _Lane] = {}
        self._records: int = 0
        self._size_bytes: int = 0

    def append(self, partition: int, records: Sequence[Outgoing]) -> asyncio.Future[Offsets]:
        """Append records to a partition; the future answers each one's offset.

        It raises ``KafkaUnavailableError`` (nothing was appended) or ``OutcomeUnknownError``.

        Raises:
            OverloadedError: too much is waiting already; nothing was taken.
        """
        size_bytes = sum([len(record.value) for record in records])
        if (
            self._records + len(records) > APPEND_RECORDS_MAX
            or self._size_bytes + size_bytes > APPEND_BYTES_MAX
        ):
            raise OverloadedError("Too many events are waiting to be appended.")
        answer: asyncio.Future[Offsets] = self._loop.create_future()
        leader = self._producer.lane(self._topic, partition)
        lane = self._lanes.get(leader)
        if lane is None:
            lane = self._lanes[leader] = _Lane()
        lane.waiting.append(_Waiting(partition, records, size_bytes, time.monotonic(), answer))
        lane.size_bytes += size_bytes
        self._records += len(records)
        self._size_bytes += size_bytes
        if lane.task is None:
            lane.task = self._loop.create_task(self._serve(lane))
        return answer

    async def drain(self) -> None:
        """Return once nothing is waiting."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, lane: _Lane) -> None:
        """Append what waits in a lane, group after group, until nothing does."""
        try:
            while lane.waiting:
                wait = lane.began_at + APPEND_INTERVAL_SECONDS - time.monotonic()
                if wait > 0 and lane.size_bytes < APPEND_GROUP_BYTES_MIN:
                    await asyncio.sleep(wait)
                lane.began_at = time.monotonic()
                await self._append(self._take(lane))
        finally:
            lane.task = None

    def _take(self, lane: _Lane) -> list[_Waiting]:
        """The next group, bounded in bytes; what waited too long is let go."""
        oldest = time.monotonic() - APPEND_SECONDS
        count, size_bytes = 0, 0
        late: list[_Waiting] = []
        group: list[_Waiting] = []
        for waiting in lane.waiting:
            if group and size_bytes + waiting.size_bytes > APPEND_GROUP_BYTES_MAX:
                break
            count += 1
            lane.size_bytes -= waiting.size_bytes
            if waiting.since < oldest:
                late.append(waiting)
            else:
                size_bytes += waiting.size_bytes
                group.append(waiting)
        lane.waiting = lane.waiting[count:]
        self._refuse(late, KafkaUnavailableError("the append before took too long"))
        return group

    async def _append(self, group: list[_Waiting]) -> None:
        by_partition: dict[int, list[_Waiting]] = {}
        for waiting in group:
            by_partition.setdefault(waiting.partition, []).append(waiting)
        started = time.perf_counter()
        try:
            outcomes = await self._producer.append_all(
                self._topic,
                {
                    partition: [record for waiting in each for record in waiting.records]
                    for partition, each in by_partition.items()
                },
                deadline_seconds=APPEND_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - each request that waits decides by itself
            self._refuse(group, error)
            return
        metrics.APPEND_SECONDS.observe(time.perf_counter() - started)
        for partition, each in by_partition.items():
            outcome = outcomes[partition]
            if isinstance(outcome, Exception):
                self._refuse(each, outcome)
            else:
                self._answer(each, outcome)

    def _answer(self, group: list[_Waiting], acks: list[tuple[Ack, int]]) -> None:
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
