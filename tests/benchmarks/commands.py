"""Commands on points: how soon one is answered, and how many a second through one api process.

Each is a request of its own key: looked up, appended, decided by loyalty at its place in the log
and answered when its outcome stands. One api process and one loyalty process run, beside the load
generator, the broker and the database; the front door is passed by.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from statistics import median
from uuid import uuid4

from services.runtime.postgres import connect
from services.runtime.settings import Settings
from services.stack.local_api import LocalApi
from tests.benchmarks.support.driving import driven
from tests.benchmarks.support.figures import Figure, at_least, at_most
from tests.benchmarks.support.load import Plan, Result
from tests.benchmarks.support.processes import Child, python, running, usage_of
from tests.benchmarks.support.servers import Stack, free_port
from tests.benchmarks.support.upshot import headers, prepared, ready

IDLE_MS_MAX = 30.0
PER_SECOND_MIN = 3_000
CUSTOMERS = 2_000
CONNECTIONS = 256
ROUNDS = 5
ROUND_SECONDS = 2.0
ROUND_COMMANDS_MAX = 30_000  # no key comes twice in a round
IDLE_RATE = 20.0
IDLE_SECONDS = 10.0
PROGRAM = "club"


async def measure(stack: Stack) -> list[Figure]:
    return await measured(stack, rounds=ROUNDS, idle_seconds=IDLE_SECONDS)


async def measured(stack: Stack, *, rounds: int, idle_seconds: float) -> list[Figure]:
    """Both figures, of that many rounds and seconds."""
    async with prepared(stack) as base, _processes(stack, base) as (settings, api, loyalty):
        await _define(settings)
        idle = await driven(_idle(settings, idle_seconds), scratch=stack.scratch)
        before = [usage_of(each.pid).cpu_seconds for each in (api, loyalty)]
        taken = [await driven(_busy(settings), scratch=stack.scratch) for _ in range(rounds + 1)]
        after = [usage_of(each.pid).cpu_seconds for each in (api, loyalty)]
    count = sum(sum(each.statuses.values()) for each in taken)
    costs = [(end - start) / count * 1e6 for start, end in zip(before, after, strict=True)]
    return [_latency(idle), _rate(taken[1:], *costs)]


def _latency(idle: Result) -> Figure:
    return Figure(
        name="commands, idle",
        value=idle.p50_ms,
        unit="ms",
        goal=at_most(IDLE_MS_MAX),
        note=f"p50 of {idle.answered} at {IDLE_RATE:.0f}/s; p99 {idle.p99_ms:.1f} ms",
    )


def _rate(rounds: list[Result], api_microseconds: float, loyalty_microseconds: float) -> Figure:
    rates = [each.per_second for each in rounds]
    return Figure(
        name="commands, one api process",
        value=median(rates),
        unit="commands/s",
        goal=at_least(PER_SECOND_MIN),
        note=(
            f"{CONNECTIONS} connections, {CUSTOMERS:,} customers; median of {len(rates)} rounds, "
            f"{min(rates):,.0f} to {max(rates):,.0f}; "
            f"p50 {median(each.p50_ms for each in rounds):.1f} ms, "
            f"p99 {median(each.p99_ms for each in rounds):.1f} ms; processor time a command: "
            f"api {api_microseconds:.0f} µs, loyalty {loyalty_microseconds:.0f} µs"
        ),
    )


@asynccontextmanager
async def _processes(stack: Stack, base: Settings) -> AsyncGenerator[tuple[Settings, Child, Child]]:
    """The api and loyalty, both ready; the settings that reach the api as the front door."""
    api_port, health_port = free_port(), free_port()
    settings = base.model_copy(update={"api_port": api_port, "port": api_port})
    environment = settings.model_copy(update={"health_port": health_port}).environment()
    scratch = stack.scratch
    async with (
        running(
            python("services.api"), scratch=scratch, name="api", environment=environment
        ) as api,
        running(
            python("projections.loyalty"), scratch=scratch, name="loyalty", environment=environment
        ) as loyalty,
    ):
        await ready(api, f"http://127.0.0.1:{api_port}")
        await ready(loyalty, f"http://127.0.0.1:{health_port}")
        yield settings, api, loyalty


async def _define(settings: Settings) -> None:
    """Make the program, and customers that are known."""
    api = LocalApi(f"http://127.0.0.1:{settings.port}", settings.admin_key.get_secret_value())
    await api.apply(f'{{"kind": "loyalty_program", "name": "{PROGRAM}", "spec": {{}}}}')
    session = await connect(settings.postgres)
    try:
        await session.execute(
            """
            WITH made AS (
                INSERT INTO upshot.customer_keys (workspace, customer, wrapped)
                SELECT %(workspace)s, md5(n::text)::uuid, '' FROM generate_series(1, %(count)s) n
                RETURNING workspace)
            INSERT INTO upshot.identities (workspace, kind, value, customer)
            SELECT %(workspace)s, 'source_id', 'customer-' || n, md5(n::text)::uuid
            FROM generate_series(1, %(count)s) n""",
            {"workspace": settings.workspace, "count": CUSTOMERS},
        )
    finally:
        await session.close()


def _idle(settings: Settings, seconds: float) -> Plan:
    return _plan(settings, connections=4, seconds=seconds, rate=IDLE_RATE)


def _busy(settings: Settings) -> Plan:
    return _plan(settings, connections=CONNECTIONS, seconds=ROUND_SECONDS, rate=None)


def _plan(settings: Settings, *, connections: int, seconds: float, rate: float | None) -> Plan:
    """A plan whose commands have keys of their own; points come and go."""
    run = uuid4().hex
    numbers = range(ROUND_COMMANDS_MAX)
    members = f"/v1/loyalty/{PROGRAM}/members"
    return Plan(
        port=settings.port,
        path=members,
        bodies=[b'{"points":%d,"reason":"goodwill"}' % (5 - 7 * (n % 2)) for n in numbers],
        paths=[f"{members}/customer-{n % CUSTOMERS + 1}/adjust" for n in numbers],
        keys=[f"{run}-{n}" for n in numbers],
        headers=headers(settings),
        connections=connections,
        seconds=seconds,
        rate=rate,
    )
