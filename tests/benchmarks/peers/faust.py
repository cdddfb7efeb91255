"""What a plain Faust agent that sums by key can reach."""

from uuid import uuid4

import msgspec

from tests.benchmarks.peers.kafka_streams import Summed
from tests.benchmarks.support.figures import Figure
from tests.benchmarks.support.kafka import Filled, filled_topic
from tests.benchmarks.support.processes import answered, python
from tests.benchmarks.support.purchases import purchases
from tests.benchmarks.support.servers import Stack

NAME = "Faust agent, sums in a dict"
RECORDS = 200_000
RUN_SECONDS = 120.0


async def measure(stack: Stack) -> list[Figure]:
    async with filled_topic(stack.kafka, "faust", purchases(RECORDS)) as filled:
        return await figures(stack, filled)


async def figures(stack: Stack, filled: Filled, *, nested: bool = False) -> list[Figure]:
    """A Faust agent over the first RECORDS that it gets of a filled topic.

    Args:
        nested: the amount stands in ``data.metadata`` of a CloudEvent, not at the top.
    """
    name = f"benchmark-faust-{uuid4().hex[:8]}"
    folder = stack.scratch / name
    folder.mkdir()
    records = str(min(RECORDS, filled.records))
    printed = await answered(
        python(
            "tests.benchmarks.peers.faust_agent",
            stack.kafka,
            name,
            filled.topic,
            records,
            str(folder),
            "nested" if nested else "plain",
        ),
        scratch=stack.scratch,
        name=name,
        seconds=RUN_SECONDS,
    )
    summed = msgspec.json.decode(printed, type=Summed)
    note = "no store and no tie between sums and offsets"
    return [Figure(name=NAME, value=summed.events_per_second, unit="events/s", note=note)]
