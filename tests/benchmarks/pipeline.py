"""The whole pipeline: every process of `upshot run`, from accepted events to webhooks received.

First batches as fast as all is applied and sent (closed loop over checkpoints and the queue: the
next batch goes out when the slowest is less than LAG_RECORDS behind); what counts is the second
half of the time, and its slowest stage, webhooks included. Then single events at a fixed rate, each
webhook timed from the answer to its event. One event in twenty sends a webhook, the others earn.
"""

import asyncio
import time

import msgspec

from services.runtime.settings import Settings
from services.stack.local_api import LocalApi
from services.stack.processes import front_door_url
from tests.benchmarks.support.driving import driven
from tests.benchmarks.support.figures import Figure, at_least, at_most
from tests.benchmarks.support.load import Plan, Result, quantile
from tests.benchmarks.support.processes import Child, ChildFailedError
from tests.benchmarks.support.progress import Progress, Stages, settled, watching
from tests.benchmarks.support.purchases import CUSTOMERS, STRIDE, amount_of
from tests.benchmarks.support.receiver import Receipts
from tests.benchmarks.support.servers import Stack
from tests.benchmarks.support.upshot import (
    BATCH_EVENTS,
    READY_SECONDS,
    Front,
    headers,
    prepared,
    receiving,
    system,
)

SUSTAINED_SECONDS = 30.0
PACED_SECONDS = 20.0
PACED_WARMUP_SECONDS = 2.0
RATE = 500.0
PER_SECOND_MIN = 5_000
P50_MS_MAX = 40.0
P99_MS_MAX = 150.0
LAG_RECORDS = 10_000  # two seconds at the goal: every partition has a batch waiting
CONNECTIONS = 4  # batches under way at once
WEBHOOK_EVERY = 20
LOOK_SECONDS = 0.05

ORDER, REVIEW = b"order.completed", b"left_review"


class Sustained(msgspec.Struct, frozen=True, kw_only=True):
    """What the closed loop saw at its half time and at its end; ``told`` events were sent."""

    half: Stages
    end: Stages
    told: int


async def measure(stack: Stack) -> list[Figure]:
    return await measured(stack, sustained=SUSTAINED_SECONDS, paced=PACED_SECONDS)


async def measured(stack: Stack, *, sustained: float, paced: float) -> list[Figure]:
    """All figures, of that many seconds each."""
    async with prepared(stack) as settings, receiving(stack) as (receiver, receiver_port):
        async with (
            system(stack, settings) as children,
            watching(settings.postgres, events_per_webhook=WEBHOOK_EVERY) as progress,
        ):
            await _define(settings, receiver_port)
            filled = await _sustain(settings, progress, sustained)
            await settled(progress, filled.told)
            result = await _pace(stack, settings, first=filled.told, seconds=paced)
            await settled(progress, filled.told + sum(result.statuses.values()))
            used = _used(children)
        receiver.process.terminate()
        printed, _ = await receiver.process.communicate()
    receipts = msgspec.json.decode(printed, type=Receipts)
    return [_rate(filled, receipts), *_latencies(filled.told, result, receipts), *used]


async def _define(settings: Settings, receiver_port: int) -> None:
    """Apply the definitions over HTTP and wait until the gateway judges by them."""
    api = LocalApi(front_door_url(settings), settings.admin_key.get_secret_value())
    documents = (
        msgspec.json.encode({"kind": kind, "name": name, "spec": spec}).decode()
        for kind, name, spec in _definitions(f"http://127.0.0.1:{receiver_port}/")
    )
    revision = await api.apply("\n---\n".join(documents))
    deadline = time.monotonic() + READY_SECONDS
    while not await api.would_accept(_event(0), revision=revision):
        if time.monotonic() > deadline:
            raise ChildFailedError(f"the gateway does not know revision {revision}")


def _definitions(url: str) -> list[tuple[str, str, object]]:
    amount = {"amount": {"type": "number", "required": True}}
    serial = {"serial": {"type": "integer", "required": True}}
    per = {"every": 10, "points": 1, "of": "metadata.amount"}
    rule = {"id": "spend", "on": {"event": ORDER.decode()}, "per": per}
    distribution = {
        "on": {"event": REVIEW.decode()},
        "purpose": "message",
        "endpoint": "receiver",
    }
    return [
        ("event_type", ORDER.decode(), {"properties": amount}),
        ("event_type", REVIEW.decode(), {"properties": serial}),
        ("loyalty_program", "club", {"earning_rules": [rule]}),
        ("endpoint", "receiver", {"url": url, "ordered": True, "concurrency": 50}),
        ("distribution", "reviews", distribution),
    ]


class _Feeding:
    """Batches over several connections, as long as the slowest processor keeps up."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self.stages: list[Stages] = []
        self.told = 0
        self._room = True

    async def watch(self, until: float) -> None:
        """Look at the checkpoints until the instant."""
        while not self.stages or self.stages[-1].at < until:
            stages = await self._progress.stages(self.told)
            self.stages.append(stages)
            self._room = stages.lag < LAG_RECORDS
            await asyncio.sleep(LOOK_SECONDS)

    async def feed(self, until: float) -> None:
        """Tell one batch after the other until the instant."""
        front = Front(self._settings)
        try:
            while time.monotonic() < until:
                if not self._room:
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
                first, self.told = self.told, self.told + BATCH_EVENTS
                await front.tell([_event(number) for number in range(first, first + BATCH_EVENTS)])
        finally:
            front.close()


async def _sustain(settings: Settings, progress: Progress, seconds: float) -> Sustained:
    feeding = _Feeding(settings, progress)
    started = time.monotonic()
    until = started + seconds
    feeds = [feeding.feed(until) for _ in range(CONNECTIONS)]
    await asyncio.gather(feeding.watch(until), *feeds)
    half = next(each for each in feeding.stages if each.at >= started + seconds / 2)
    return Sustained(half=half, end=feeding.stages[-1], told=feeding.told)


async def _pace(stack: Stack, settings: Settings, *, first: int, seconds: float) -> Result:
    count = int(RATE * (PACED_WARMUP_SECONDS + seconds + 1))
    plan = Plan(
        port=settings.port,
        path="/v1/events",
        bodies=[_event(number) for number in range(first, first + count)],
        headers=headers(settings),
        warmup_seconds=PACED_WARMUP_SECONDS,
        seconds=seconds,
        rate=RATE,
        answered_at=True,
    )
    return await driven(plan, scratch=stack.scratch)


def _rate(filled: Sustained, receipts: Receipts) -> Figure:
    """The rate of the slowest stage over the second half."""
    half, end = filled.half, filled.end
    seconds = end.at - half.at
    rates = {
        name: (count - half.processed[name]) / seconds for name, count in end.processed.items()
    }
    received = sum(half.at < at <= end.at for at in receipts.received_at.values())
    rates["webhooks"] = received * WEBHOOK_EVERY / seconds
    slowest = min(rates, key=lambda name: rates[name])
    stages = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    return Figure(
        name="pipeline, sustained",
        value=rates[slowest],
        unit="events/s",
        goal=at_least(PER_SECOND_MIN),
        note=(
            f"over {seconds:.0f} s, the slowest is {slowest} ({stages}: one in {WEBHOOK_EVERY}); "
            f"{half.lag:,} records behind at their start, {end.lag:,} at their end; "
            f"more are sent while fewer than {LAG_RECORDS:,} are"
        ),
    )


def _latencies(first: int, result: Result, receipts: Receipts) -> list[Figure]:
    """Accepted to received, of each webhook that the measured window caused."""
    warm = int(RATE * PACED_WARMUP_SECONDS)
    due = [
        (first + index, at)
        for index, at in enumerate(result.answered_at)
        if index >= warm and (first + index) % WEBHOOK_EVERY == 0
    ]
    lost = [number for number, _ in due if number not in receipts.received_at]
    if lost or not due:
        raise ChildFailedError(f"{len(lost)} of {len(due)} webhooks never came")
    waits = sorted((receipts.received_at[number] - at) * 1000 for number, at in due)
    note = (
        f"{len(waits):,} webhooks at {result.per_second:.0f} events/s; "
        f"answers: p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms; longest {waits[-1]:.0f}"
    )
    return [
        Figure(
            name=f"pipeline, accepted to webhook received, {quoted}",
            value=quantile(waits, share),
            unit="ms",
            goal=at_most(limit),
            note=note,
        )
        for quoted, share, limit in (("p50", 0.5, P50_MS_MAX), ("p99", 0.99, P99_MS_MAX))
    ]


def _used(children: dict[str, Child]) -> list[Figure]:
    usages = {name: child.usage() for name, child in children.items()}
    return [
        figure
        for name, usage in usages.items()
        for figure in (
            Figure(
                name=f"pipeline, {name}: peak memory",
                value=usage.peak_memory_bytes / 2**20,
                unit="MiB",
            ),
            Figure(name=f"pipeline, {name}: processor time", value=usage.cpu_seconds, unit="s"),
        )
    ]


def _event(number: int) -> bytes:
    who = number * STRIDE % CUSTOMERS
    if number % WEBHOOK_EVERY == 0:
        told = b'"event":"%b","metadata":{"serial":%d}' % (REVIEW, number)
    else:
        told = b'"event":"%b","metadata":{"amount":%d0.50}' % (ORDER, amount_of(number))
    return b'{%b,"customer":{"source_id":"customer-%06d"}}' % (told, who)
