"""Processes that fill generations, and who hands partitions to whom.

A rebalance takes a partition from one process and gives it to another: in order, or before the
one that had it knows. A process that died is followed by a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from contracts.topics import CUSTOMER_EVENTS
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.partition import PartitionOwner, Wiring
from projections.kernel.projection import Definitions
from tests.conformance.logs import PARTITIONS
from tests.simulation.broker import Broker, MachineClock, SimulatedConsumer, SimulatedProducer
from tests.simulation.faults import Faults
from tests.simulation.ground import Part
from tests.simulation.processes import WHO, Process

Share = tuple[str, int]
"""A generation's schema, and a partition."""


class Member:
    """A process with a reader for each generation."""

    def __init__(
        self,
        process: Process,
        broker: Broker,
        parts: Sequence[Part],
        definitions: Definitions,
        report: Callable[[str], None],
    ) -> None:
        self.process = process
        self.owners: dict[Share, PartitionOwner[Any]] = {}
        self._report = report
        clock = MachineClock(broker.turns, broker.draw)
        producer = SimulatedProducer(broker, process)
        self._wirings = {
            generation.schema: (
                part.projection,
                Wiring(
                    conninfo="",
                    schema=generation.schema,
                    partitions=PARTITIONS,
                    consumer=SimulatedConsumer(broker, process, CUSTOMER_EVENTS),
                    definitions=definitions,
                    producer=producer,
                    reader_of=lambda topic: SimulatedConsumer(broker, process, topic),
                    report=self._hear,
                    applied=self._applied,
                    committed=lambda: None,
                    clock=clock,
                ),
            )
            for part in parts
            for generation in part.run
        }

    async def gain(self, share: Share) -> None:
        """Own a partition of a generation."""
        await self.lose(share)
        if self.process.dead:
            return
        schema, partition = share
        owner = PartitionOwner(*self._wirings[schema], partition)
        self.owners[share] = owner
        token = WHO.set(self.process)
        owner.start()
        WHO.reset(token)

    async def lose(self, share: Share) -> None:
        """Own it no more, once its task has ended."""
        owner = self.owners.pop(share, None)
        if owner is not None:
            await owner.end()

    async def end(self) -> None:
        """Own nothing any more."""
        for share in list(self.owners):
            await self.lose(share)

    def _hear(self, partition: int, reason: str | None) -> None:
        if reason is not None:
            self._report(f"{self.process.name}: partition {partition}: {reason}")

    def _applied(self, count: int, checkpoint: Checkpoint) -> None:
        if count:
            self._report(
                f"{self.process.name}: partition {checkpoint.partition} stands at "
                f"{checkpoint.next_offset} (+{count})"
            )


class Group:
    """Members, and which of them owns what."""

    def __init__(
        self,
        size: int,
        shares: list[Share],
        faults: Faults,
        new_member: Callable[[Process], Member],
        world: Process,
    ) -> None:
        self.members: list[Member] = []
        self.assigned: dict[Share, Member] = {}
        self._shares = shares
        self._faults = faults
        self._new_member = new_member
        self._world = world
        self._count = 0
        self._leaving: list[Member] = []
        for _ in range(size):
            self._join()

    async def start(self) -> None:
        """Hand everything out."""
        for number, share in enumerate(self._shares):
            await self.move(share, self.members[number % len(self.members)], orderly=True)

    async def move(self, share: Share, member: Member, *, orderly: bool) -> None:
        """Give a partition to a member; not orderly: before the one that has it hears of it."""
        before = self.assigned.get(share)
        self.assigned[share] = member
        if before is not None and before is not member:
            if orderly:
                await before.lose(share)
            else:
                self._world.spawn(self._hears_late(before, share))
        if self.assigned[share] is member and (before is not member or share not in member.owners):
            await member.gain(share)

    async def rebalance(self) -> None:
        """Move a partition somewhere else, as the seed says."""
        draw = self._faults.draw
        await self.move(
            draw.choice(self._shares), draw.choice(self.members), orderly=self._faults.coin()
        )

    async def settle(self) -> None:
        """Let everybody hear what is whose, and the dead be gone."""
        while True:
            if not self._leaving and not self._world.is_busy:
                break
            await asyncio.sleep(1)
        for share, member in list(self.assigned.items()):
            if share not in member.owners or member.process.dead:
                await self.move(share, self.members[0], orderly=True)

    async def end(self) -> None:
        """Take everything from everybody."""
        for member in self.members:
            await member.end()

    def _join(self) -> Member:
        self._count += 1
        member = self._new_member(Process(f"p{self._count}", self._faults, died=self._died))
        self.members.append(member)
        return member

    def _died(self, process: Process) -> None:
        member = next(each for each in self.members if each.process is process)
        self.members.remove(member)
        self._join()
        self._leaving.append(member)
        self._world.spawn(self._follow(member))

    async def _follow(self, member: Member) -> None:
        """Take a dead process down, start another, and hand out what it had."""
        await member.end()
        self._leaving.remove(member)
        await asyncio.sleep(self._faults.draw.random())
        for share, owner in list(self.assigned.items()):
            if owner is member:
                await self.move(share, self._faults.draw.choice(self.members), orderly=True)

    async def _hears_late(self, member: Member, share: Share) -> None:
        await asyncio.sleep(self._faults.draw.random() * self._faults.draw.choice((0.01, 0.1, 10)))
        if self.assigned[share] is not member:
            await member.lose(share)
