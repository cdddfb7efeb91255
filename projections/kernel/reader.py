"""One generation's share of the partitions in this process, as the consumer group hands them out.

Guarantee: a partition is run from the moment it is assigned until it is revoked, and its task has
ended before another process may be told that it is free.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Generic, TypeVar

import structlog

from contracts.topics import CUSTOMER_EVENTS
from projections.kernel.checkpoint import LOG_START, Checkpoint
from projections.kernel.generations import Generation
from projections.kernel.partition import PartitionOwner, Wiring
from projections.kernel.projection import Definitions, Projection
from services.runtime import metrics
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.producer import Producer

W = TypeVar("W")

HINT_SECONDS = 5.0
"""How often offsets are committed as a hint for lag tools."""

_log = structlog.get_logger(__name__)


class GenerationReader(Generic[W]):
    """Reads ``customer.events`` into one generation until stopped."""

    def __init__(
        self,
        projection: Projection[W],
        generation: Generation,
        *,
        kafka: str,
        prefix: str,
        conninfo: str,
        definitions: Definitions,
        producer: Producer,
        committed: Callable[[], None],
    ) -> None:
        self.generation = generation
        self.reasons: dict[int, str] = {}
        self._projection = projection
        self._next: dict[int, int] = {}
        self._applied_at: dict[int, datetime] = {}
        self._owners: dict[int, PartitionOwner[W]] = {}
        self._changing = asyncio.Lock()
        self._hinting: asyncio.Task[None] | None = None
        self._consumer = Consumer(kafka, CUSTOMER_EVENTS, prefix=prefix, group=generation.group)
        self._wiring = Wiring(
            conninfo=conninfo,
            schema=generation.schema,
            partitions=generation.partitions,
            consumer=self._consumer,
            definitions=definitions,
            producer=producer,
            reader_of=lambda topic: Consumer(kafka, topic, prefix=prefix),
            report=self._report,
            applied=self._applied,
            committed=committed,
        )

    async def start(self) -> None:
        """Join the group; partitions come when the group hands them out.

        Raises:
            KafkaUnavailableError: no broker answered.
        """
        await self._consumer.join(gained=self._gain, lost=self._lose)
        self._hinting = asyncio.create_task(self._hint())

    async def stop(self) -> None:
        """Stop all partitions, then leave the group."""
        if self._hinting is not None:
            self._hinting.cancel()
        await self._lose(list(self._owners))
        await self._consumer.stop()

    def not_ready(self) -> list[str]:
        """Say why partitions of ours do not move, a sentence each."""
        return [
            f"partition {partition} of {self.generation.schema}: {reason}"
            for partition, reason in sorted(self.reasons.items())
        ]

    async def claim_again(self) -> None:
        """Have every partition claimed anew: the generation became the live one, or ceased to be.

        Its owners would notice at the next record; timers and outputs do not wait for one.
        """
        async with self._changing:
            partitions = list(self._owners)
            await self._end(partitions)
            self._start(partitions)

    async def _gain(self, partitions: Collection[int]) -> None:
        async with self._changing:
            self._start(partitions)

    def _start(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            if partition >= self.generation.partitions:
                _log.error("the topic has more partitions than the generation", partition=partition)
                continue
            self.reasons[partition] = "being claimed"
            owner = PartitionOwner(self._projection, self._wiring, partition)
            self._owners[partition] = owner
            owner.start()
        _log.info(
            "partitions assigned", schema=self.generation.schema, partitions=sorted(partitions)
        )

    async def _lose(self, partitions: Collection[int]) -> None:
        async with self._changing:
            await self._end(partitions)

    async def _end(self, partitions: Collection[int]) -> None:
        owners = [self._owners.pop(each) for each in partitions if each in self._owners]
        await asyncio.gather(*(owner.end() for owner in owners))
        for partition in partitions:
            self.reasons.pop(partition, None)
            self._next.pop(partition, None)
            self._applied_at.pop(partition, None)

    def _report(self, partition: int, reason: str | None) -> None:
        if reason is None:
            self.reasons.pop(partition, None)
        else:
            self.reasons[partition] = reason

    def _applied(self, count: int, checkpoint: Checkpoint) -> None:
        self._next[checkpoint.partition] = checkpoint.next_offset
        self._applied_at[checkpoint.partition] = checkpoint.logical_time
        metrics.RECORDS_APPLIED.labels(self._projection.name).inc(count)

    async def _hint(self) -> None:
        while True:
            await asyncio.sleep(HINT_SECONDS)
            if self._next:
                await self._consumer.commit_hint(dict(self._next))

    async def lag(self) -> dict[int, int]:
        """Count the records that this process's partitions have not applied yet.

        Raises:
            KafkaUnavailableError: no answer came; stop this reader and start another.
        """
        owned = list(self._owners)  # a rebalance may change ours while Kafka is asked
        ends = await self._consumer.end_offsets(owned or [0])
        return {
            partition: end - self._next[partition]
            for partition, end in ends.items()
            if partition in self._next
        }

    def applied_at(self, lags: Mapping[int, int]) -> dict[int, datetime | None]:
        """When the last applied record of each partition was appended; None where none waits.

        A partition that waits for its first record to be applied is left out: nothing is known.
        """
        return {
            partition: self._applied_at[partition] if lag > 0 else None
            for partition, lag in lags.items()
            if not lag or self._applied_at.get(partition, LOG_START) > LOG_START
        }
