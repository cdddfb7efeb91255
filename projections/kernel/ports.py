"""What the kernel needs of a log: somebody who reads it and somebody who appends to it.

Guarantee: nothing else of Kafka's clients is used by what applies, relays and ticks, so that it
runs on any log of the same conduct.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

from services.runtime.kafka.consumer import POLL_MS, Incoming
from services.runtime.kafka.producer import Ack, Outgoing


class LogReader(Protocol):
    """Reads one topic; ``services.runtime.kafka.consumer.Consumer`` says how."""

    async def assign(self, partitions: dict[int, int]) -> None:
        """Start reading these partitions by hand, each from its offset."""
        ...

    def resume_at(self, partition: int, offset: int) -> None:
        """Let a held partition flow from an offset."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from another offset next."""
        ...

    async def poll(
        self, partition: int, *, records_max: int, timeout_ms: int = POLL_MS
    ) -> list[Incoming]:
        """Read what is there of one partition; empty after the timeout."""
        ...

    async def end_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        """Offset after the last record of each partition."""
        ...

    async def begin_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        """Offset of the first record that each partition still has."""
        ...

    async def stop(self) -> None:
        """Read no more."""
        ...


class LogAppender(Protocol):
    """Appends; ``services.runtime.kafka.producer.Producer`` says how."""

    async def append(
        self, topic: str, partition: int, records: Iterable[Outgoing], *, deadline_seconds: float
    ) -> list[tuple[Ack, int]]:
        """Append records in order; answers each batch's ack with its count of records."""
        ...
