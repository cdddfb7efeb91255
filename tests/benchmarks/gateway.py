"""The gateway: single events beside a bare handler that appends, and batches by itself.

The gateway is the real process with the real broker and database: every event is validated, its
customer found, and acknowledged by Kafka before it is answered. All customers are known, so the
blob of a profile is made once and used again. An event with a ``note``, a personal property, has
that sealed afresh each time: so have the single events; batches are measured with it and without.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from services.runtime.settings import Settings
from tests.benchmarks.peers import bare
from tests.benchmarks.support.figures import Figure, at_least
from tests.benchmarks.support.load import Plan
from tests.benchmarks.support.processes import listening, python, running, usage_of
from tests.benchmarks.support.purchases import CUSTOMERS, amount_of
from tests.benchmarks.support.rounds import ROUNDS, SERVER_CORES, Side, Taken, alternated
from tests.benchmarks.support.servers import Stack
from tests.benchmarks.support.upshot import (
    BATCH_EVENTS,
    BATCH_PATH,
    Front,
    batch,
    headers,
    prepared,
)
from tests.support.gateway import define

SINGLE = "gateway, single events"
BATCHES = "gateway, batches of 500"
AFRESH = "gateway, batches of 500, each event sealed afresh"
RATIO_MIN = 0.85
BATCHES_PER_SECOND_MIN = 120_000
BATCH_CONNECTIONS = 4
EVENT = "order.completed"
EVENT_TYPE = {
    "properties": {
        "amount": {"type": "number", "required": True},
        "note": {"type": "string", "pii": True},
        "memo": {"type": "string"},
    }
}


async def measure(stack: Stack) -> list[Figure]:
    return await measured(stack, rounds=ROUNDS)


async def measured(stack: Stack, *, rounds: int) -> list[Figure]:
    """Both figures, of that many rounds."""
    sealed = [_event(number, "note") for number in range(CUSTOMERS)]
    plain = [_event(number, "memo") for number in range(CUSTOMERS)]
    async with _gateway(stack) as (settings, pid):
        await _register(settings, plain)
        singles = _plan(settings, "/v1/events", sealed, connections=bare.CONNECTIONS)
        async with bare.serving(stack, sealed) as peer:
            side = Side(name=SINGLE, pid=pid, plan=singles)
            taken = await alternated(stack, [side, peer], rounds=rounds)
        sides = [
            _batches(BATCHES, settings, pid, plain),
            _batches(AFRESH, settings, pid, sealed),
        ]
        batches = await alternated(stack, sides, rounds=rounds)
        peak = usage_of(pid).peak_memory_bytes
    return [
        *_compared(taken[SINGLE], taken[bare.NAME], len(sealed[0])),
        Figure(
            name=BATCHES,
            value=batches[BATCHES].events_per_second,
            unit="events/s",
            goal=at_least(BATCHES_PER_SECOND_MIN),
            note=f"known customers, their blobs used again; {batches[BATCHES].described()}",
        ),
        Figure(
            name=AFRESH,
            value=batches[AFRESH].events_per_second,
            unit="events/s",
            note=f"a personal property in each; {batches[AFRESH].described()}",
        ),
        Figure(
            name="gateway, peak memory",
            value=peak / 2**20,
            unit="MiB",
            note=f"after {CUSTOMERS:,} customers, single events and batches",
        ),
    ]


def _compared(ours: Taken, bares: Taken, size: int) -> list[Figure]:
    cost = ours.server_microseconds / bares.server_microseconds
    return [
        Figure(
            name=bare.NAME,
            value=bares.events_per_second,
            unit="events/s",
            note=bares.described(),
        ),
        Figure(
            name=SINGLE,
            value=ours.events_per_second,
            unit="events/s",
            goal=at_least(RATIO_MIN),
            ratio_to=bare.NAME,
            ratio=ours.ratio_to(bares),
            note=f"bodies of {size} bytes, each sealed afresh; {ours.described()}",
        ),
        Figure(
            name="gateway, single events: processor time",
            value=ours.server_microseconds,
            unit="µs",
            note=f"an event; {cost:.2f} times the bare handler's",
        ),
    ]


@asynccontextmanager
async def _gateway(stack: Stack) -> AsyncGenerator[tuple[Settings, int]]:
    """A gateway on a core of its own: its settings and process id."""
    async with prepared(stack) as settings:
        await define(settings, [("event_type", EVENT, EVENT_TYPE)])
        async with running(
            python("services.gateway"),
            scratch=stack.scratch,
            name="gateway",
            environment=settings.environment(),
            cores=SERVER_CORES,
        ) as child:
            await listening(child, settings.port)
            yield settings, child.pid


async def _register(settings: Settings, bodies: list[bytes]) -> None:
    """Tell every customer once, so that all are known."""
    front = Front(settings)
    try:
        for some in _batched(bodies):
            await front.tell(some)
    finally:
        front.close()


def _batches(name: str, settings: Settings, pid: int, bodies: list[bytes]) -> Side:
    told = [batch(some) for some in _batched(bodies)]
    return Side(
        name=name,
        pid=pid,
        plan=_plan(settings, BATCH_PATH, told, connections=BATCH_CONNECTIONS),
        events_per_request=BATCH_EVENTS,
    )


def _plan(settings: Settings, path: str, bodies: list[bytes], *, connections: int) -> Plan:
    return Plan(
        port=settings.port,
        path=path,
        bodies=bodies,
        headers=headers(settings),
        connections=connections,
    )


def _batched(bodies: list[bytes]) -> list[list[bytes]]:
    return [bodies[at : at + BATCH_EVENTS] for at in range(0, len(bodies), BATCH_EVENTS)]


def _event(number: int, text: str) -> bytes:
    """An event whose property of that name says where to ring."""
    return (
        b'{"event":"%b","customer":{"source_id":"customer-%06d"},'
        b'"metadata":{"amount":%d.50,"%b":"ring twice, third floor, blue door"}}'
    ) % (EVENT.encode(), number, amount_of(number), text.encode())
