"""The peer of `POST /v1/events`: what a bare Starlette handler that appends can reach."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.benchmarks.support.driving import driven
from tests.benchmarks.support.figures import Figure
from tests.benchmarks.support.kafka import empty_topic
from tests.benchmarks.support.load import Plan
from tests.benchmarks.support.processes import Child, listening, python, running
from tests.benchmarks.support.purchases import purchases
from tests.benchmarks.support.servers import Stack, free_port

NAME = "bare Starlette handler that appends"
SERVER_CORES = frozenset({0})
LOAD_CORES = frozenset({1})
BODIES = 10_000
SECONDS = 5.0


async def measure(stack: Stack) -> list[Figure]:
    async with serving(stack) as (child, port):
        return await figures(stack, child, port)


@asynccontextmanager
async def serving(stack: Stack) -> AsyncGenerator[tuple[Child, int]]:
    """The bare handler on a core of its own, and its port."""
    port = free_port()
    async with empty_topic(stack.kafka, "bare") as topic:
        argv = python("tests.benchmarks.peers.bare_handler", str(port), stack.kafka, topic)
        async with running(
            argv, scratch=stack.scratch, name="bare-handler", cores=SERVER_CORES
        ) as child:
            await listening(child, port)
            yield child, port


async def figures(stack: Stack, child: Child, port: int) -> list[Figure]:
    """One round of single events of 200 bytes against the handler."""
    bodies = [value for _, value in purchases(BODIES)]
    plan = Plan(port=port, path="/events", bodies=bodies, seconds=SECONDS)
    before = child.usage()
    result = await driven(plan, scratch=stack.scratch, cores=LOAD_CORES)
    used = child.usage().cpu_seconds - before.cpu_seconds
    cost = used / sum(result.statuses.values()) * 1e6
    return [
        Figure(
            name=NAME,
            value=result.per_second,
            unit="events/s",
            note=f"p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms, "
            f"{cost:.0f} µs of the handler's processor time an event, "
            f"generator {result.cpu_seconds / result.seconds:.0%} of its core",
        )
    ]
