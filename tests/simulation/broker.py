"""A log in memory with the conduct of the real one, and clients of it.

Append time is the broker's clock, which steps back and forth. An append may land without being
acknowledged, in part, or only after its producer has given it up; appends of one partition that
are under way at once land in any order, since a producer that gave one up goes on with another
client.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from services.runtime.kafka.consumer import POLL_MS, Incoming
from services.runtime.kafka.errors import (
    KafkaUnavailableError,
    LogGapError,
    OutcomeUnknownError,
)
from services.runtime.kafka.producer import Ack, Outgoing
from tests.conformance.logs import START
from tests.simulation.faults import Fault
from tests.simulation.processes import Process
from tests.simulation.turns import Turns

CLOCK_ERROR_MS_MAX = 2_000
"""How far the broker's clock may be from true time, either way."""
CLOCK_STEP_SHARE = 0.1
"""How often the clock steps at an append."""
APPENDS_ARE_RARE = 6
"""How much more often something strikes at an append than at a statement: there are fewer."""
FETCH_EMPTY_SHARE = 0.1
"""How often a fetch brings nothing although there is something."""
MACHINE_CLOCK_ERROR_MS_MAX = 500
"""How far a process's clock may be from true time: ticks come early or late by it."""

TopicPartition = tuple[str, int]


class MachineClock:
    """The clock of a process: wrong by something."""

    def __init__(self, turns: Turns, draw: random.Random) -> None:
        self._turns = turns
        self._error = timedelta(
            milliseconds=draw.randint(-MACHINE_CLOCK_ERROR_MS_MAX, MACHINE_CLOCK_ERROR_MS_MAX)
        )

    def now(self) -> datetime:
        """The machine's time."""
        return START + timedelta(seconds=self._turns.loop.now) + self._error


class Broker:
    """Topics, the clock, and what is on its way."""

    def __init__(self, draw: random.Random, turns: Turns) -> None:
        self.draw = draw
        self.turns = turns
        self.network: Process
        self._logs: dict[TopicPartition, list[Incoming]] = {}
        self._readers: dict[TopicPartition, list[asyncio.Future[None]]] = {}
        self._clock_error_ms = 0

    def records(self, topic: str, partition: int) -> list[Incoming]:
        """The log of a partition."""
        return self._logs.setdefault((topic, partition), [])

    def logs(self) -> dict[TopicPartition, list[Incoming]]:
        """Every partition that anybody asked for."""
        return self._logs

    def append(self, topic: str, partition: int, records: Iterable[Outgoing]) -> Ack:
        """Append a batch, at one time of the broker's clock."""
        log = self.records(topic, partition)
        base_offset, at = len(log), self._now()
        appended_at_ms = round(at.timestamp() * 1000)
        for record in records:
            log.append(
                Incoming(
                    partition, len(log), appended_at_ms, record.key, record.value, record.headers
                )
            )
        for reader in self._readers.pop((topic, partition), []):
            if not reader.done():
                reader.set_result(None)
        return Ack(base_offset=base_offset, appended_at=at)

    def append_late(self, topic: str, partition: int, records: Sequence[Outgoing]) -> None:
        """Let a batch land whenever the network gets to it."""

        async def land() -> None:
            await self.turns.take(self.network, f"late append to {topic}/{partition}")
            self.append(topic, partition, records)

        self.network.spawn(land())

    async def grows(self, topic: str, partition: int) -> None:
        """Wait for the next record of a partition."""
        reader = asyncio.get_running_loop().create_future()
        self._readers.setdefault((topic, partition), []).append(reader)
        await reader

    def _now(self) -> datetime:
        if self.draw.random() < CLOCK_STEP_SHARE:
            self._clock_error_ms = self.draw.randint(-CLOCK_ERROR_MS_MAX, CLOCK_ERROR_MS_MAX)
        passed = self.turns.loop.now + self._clock_error_ms / 1000
        return START + timedelta(milliseconds=round(passed * 1000))


class SimulatedConsumer:
    """Reads one topic of a broker in memory."""

    def __init__(self, broker: Broker, process: Process, topic: str) -> None:
        self._broker = broker
        self._process = process
        self._name = topic
        self._positions: dict[int, int] = {}

    async def assign(self, partitions: dict[int, int]) -> None:
        await self._reach(f"assign {self._name}")
        self._positions = dict(partitions)

    def resume_at(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    def seek(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    async def poll(
        self, partition: int, *, records_max: int, timeout_ms: int = POLL_MS
    ) -> list[Incoming]:
        broker = self._broker
        await self._reach(f"poll {self._name}/{partition}")
        position = self._positions.get(partition)
        if position is None:
            await asyncio.sleep(timeout_ms / 1000)
            return []
        log = broker.records(self._name, partition)
        if position > len(log):
            raise LogGapError(f"{self._name}/{partition} ends at {len(log)}")
        if broker.draw.random() < FETCH_EMPTY_SHARE:
            return []
        if position == len(log):
            await self._wait_for_more(partition, timeout_ms)
            return []
        most = min(records_max, len(log) - position)
        count = broker.draw.choice((1, most, broker.draw.randint(1, most)))
        self._positions[partition] = position + count
        return log[position : position + count]

    async def end_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        await self._reach(f"ends of {self._name}")
        return {each: len(self._broker.records(self._name, each)) for each in partitions}

    async def begin_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        await self._reach(f"begins of {self._name}")
        return dict.fromkeys(partitions, 0)

    async def stop(self) -> None:
        self._positions = {}

    async def _wait_for_more(self, partition: int, timeout_ms: int) -> None:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._broker.grows(self._name, partition)
        except TimeoutError:
            return

    async def _reach(self, what: str) -> None:
        """Have a turn at the broker, or find it away."""
        await reach(self._broker.turns, self._process, what)


class SimulatedProducer:
    """Appends to a broker in memory."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._process = process

    async def append(
        self, topic: str, partition: int, records: Iterable[Outgoing], *, deadline_seconds: float
    ) -> list[tuple[Ack, int]]:
        broker, process, batch = self._broker, self._process, list(records)
        what = f"append to {topic}/{partition}"
        await broker.turns.take(process, what)
        fault = None if process.dead else process.faults.strike(times_as_often=APPENDS_ARE_RARE)
        if fault is not None:
            broker.turns.note(f"{process.name} {what}: {fault.value}")
        middle = broker.draw.randint(0, len(batch))
        match fault:
            case None:
                pass
            case Fault.FREEZE:
                broker.turns.freeze(process, process.faults.frozen_turns())
                await broker.turns.take(process, what)
            case Fault.CUT_BEFORE:
                raise KafkaUnavailableError("no broker answered")
            case Fault.CRASH_BEFORE:
                await process.crash()
            case Fault.CUT_AFTER | Fault.CRASH_AFTER:
                self._land(topic, partition, batch[: middle or None])
                await self._give_up(fault, what, deadline_seconds)
            case Fault.CUT_LATE | Fault.CRASH_LATE:
                self._land(topic, partition, batch[:middle])
                broker.append_late(topic, partition, batch[middle:])
                await self._give_up(fault, what, deadline_seconds)
        if process.dead:
            raise KafkaUnavailableError("this process is gone")
        batches = [batch[:middle], batch[middle:]]
        return [(broker.append(topic, partition, each), len(each)) for each in batches if each]

    def _land(self, topic: str, partition: int, batch: Sequence[Outgoing]) -> None:
        if batch:
            self._broker.append(topic, partition, batch)

    async def _give_up(self, fault: Fault, what: str, deadline_seconds: float) -> None:
        if fault in (Fault.CRASH_AFTER, Fault.CRASH_LATE):
            await self._process.crash()
        await asyncio.sleep(deadline_seconds)
        raise OutcomeUnknownError(what)


async def reach(turns: Turns, process: Process, what: str) -> None:
    """Have a turn at a server; raises ``KafkaUnavailableError`` where the seed says so."""
    await turns.take(process, what)
    if process.dead:
        raise KafkaUnavailableError("this process is gone")
    fault = process.faults.strike((Fault.CUT_BEFORE, Fault.CRASH_BEFORE, Fault.FREEZE))
    if fault is not None:
        turns.note(f"{process.name} {what}: {fault.value}")
    match fault:
        case Fault.FREEZE:
            turns.freeze(process, process.faults.frozen_turns())
            await turns.take(process, what)
        case Fault.CRASH_BEFORE:
            await process.crash()
        case Fault.CUT_BEFORE:
            raise KafkaUnavailableError("no broker answered")
        case _:
            return
