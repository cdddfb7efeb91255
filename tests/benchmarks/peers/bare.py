"""The peer of `POST /v1/events`: what a bare Starlette handler that appends can reach."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.benchmarks.support.figures import Figure
from tests.benchmarks.support.kafka import empty_topic
from tests.benchmarks.support.load import Plan
from tests.benchmarks.support.processes import listening, python, running
from tests.benchmarks.support.purchases import purchases
from tests.benchmarks.support.rounds import SERVER_CORES, Side, alternated
from tests.benchmarks.support.servers import Stack, free_port

NAME = "bare Starlette handler that appends"
BODIES = 10_000
CONNECTIONS = 256
"""Keep the server's core busy: with 64 it waits for the broker a sixth of the time."""


async def measure(stack: Stack) -> list[Figure]:
    async with serving(stack) as side:
        taken = (await alternated(stack, [side]))[NAME]
    return [
        Figure(name=NAME, value=taken.events_per_second, unit="events/s", note=taken.described())
    ]


@asynccontextmanager
async def serving(stack: Stack, bodies: list[bytes] | None = None) -> AsyncGenerator[Side]:
    """The bare handler on a core of its own, sent 200-byte purchases unless told other bodies."""
    port = free_port()
    sent = bodies or [value for _, value in purchases(BODIES)]
    async with empty_topic(stack.kafka, "bare") as topic:
        argv = python("tests.benchmarks.peers.bare_handler", str(port), stack.kafka, topic)
        async with running(
            argv, scratch=stack.scratch, name="bare-handler", cores=SERVER_CORES
        ) as child:
            await listening(child, port)
            plan = Plan(port=port, path="/events", bodies=sent, connections=CONNECTIONS)
            yield Side(name=NAME, pid=child.pid, plan=plan)
