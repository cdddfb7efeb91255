"""The peer of the kernel: Kafka Streams sums by key into a store, a changelog behind it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from uuid import uuid4

import msgspec

from tests.benchmarks.support.figures import Figure
from tests.benchmarks.support.java import class_path, compiled, java
from tests.benchmarks.support.kafka import Filled, filled_topic
from tests.benchmarks.support.processes import answered
from tests.benchmarks.support.purchases import purchases, total
from tests.benchmarks.support.servers import Stack

STREAMS = "org.apache.kafka:kafka-streams:4.3.0"
SOURCE = Path(__file__).parent / "streams" / "SumByKey.java"
RECORDS = 1_000_000
RUN_SECONDS = 180.0
HEAP = "-Xmx1g"

Guarantee = Literal["at_least_once", "exactly_once_v2"]
GUARANTEES: tuple[Guarantee, ...] = ("at_least_once", "exactly_once_v2")


class Summed(msgspec.Struct, frozen=True, kw_only=True):
    """What a program that sums by key prints; ``sum`` is that of its whole store."""

    records: int
    seconds: float
    second_half_seconds: float
    sum: int

    @property
    def events_per_second(self) -> float:
        return self.records / self.seconds

    @property
    def warm_events_per_second(self) -> float:
        """The rate over the second half, when caches and compilers have settled."""
        return self.records / 2 / self.second_half_seconds


async def measure(stack: Stack) -> list[Figure]:
    async with filled_topic(stack.kafka, "sums", purchases(RECORDS)) as filled:
        return await figures(stack, filled)


async def figures(
    stack: Stack, filled: Filled, *, guarantees: Sequence[Guarantee] = GUARANTEES
) -> list[Figure]:
    """Kafka Streams on a filled topic, under each guarantee, with one thread and with two."""
    measured: list[Figure] = []
    for guarantee in guarantees:
        for threads in (1, 2):
            summed = await sum_by_key(stack, filled, guarantee=guarantee, threads=threads)
            measured.append(
                Figure(
                    name=name_of(guarantee, threads),
                    value=summed.events_per_second,
                    unit="events/s",
                    note=f"{summed.warm_events_per_second:,.0f} over the second half",
                )
            )
    return measured


def name_of(guarantee: Guarantee, threads: int) -> str:
    return f"Kafka Streams {guarantee}, {threads} thread{'s' if threads > 1 else ''}"


async def sum_by_key(stack: Stack, filled: Filled, *, guarantee: Guarantee, threads: int) -> Summed:
    """Sum a topic of purchases from its start under a new application id.

    Raises:
        ChildFailedError: the program failed or took longer than RUN_SECONDS.
    """
    libraries = await class_path(STREAMS)
    classes = await compiled(SOURCE, libraries=libraries, scratch=stack.scratch)
    application = f"benchmark-streams-{uuid4().hex[:8]}"
    state = stack.scratch / application
    arguments = [stack.kafka, application, filled.topic, str(filled.records)]
    arguments += [guarantee, str(threads), str(state)]
    printed = await answered(
        java(classes, "SumByKey", arguments, options=[HEAP]),
        scratch=stack.scratch,
        name=application,
        seconds=RUN_SECONDS,
    )
    summed = msgspec.json.decode(printed, type=Summed)
    assert summed.sum == total(filled.records), "the peer's store does not hold the topic's sum"
    return summed
