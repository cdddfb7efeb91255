"""One run: a seed tells a story to real processes of a simulated world, and judges what is left."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from typing import Any
from unittest import mock

import msgspec
from structlog.testing import capture_logs

from contracts.topics import CUSTOMER_EVENTS
from projections.kernel.batch import Applier
from projections.kernel.partition import prefer_key_lookups
from projections.kernel.projection import Merging
from services.runtime.postgres import Session
from tests.conformance.logs import PARTITIONS
from tests.simulation import stories
from tests.simulation.broker import Broker
from tests.simulation.faults import Faults
from tests.simulation.ground import SUBJECTS, Ground
from tests.simulation.operators import Operator
from tests.simulation.processes import Process
from tests.simulation.readers import Group, Member
from tests.simulation.sessions import Connect, simulated_sessions
from tests.simulation.stories import Gateway, Registrar, Story, Upstream
from tests.simulation.turns import StuckError, Turns
from tests.simulation.verdict import Verdict

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # it warns of each connection we cut

PROCESSES_MAX = 3
TIMERS_MAX = (1, 2, 3, 7, 5_000)
"""Of one transaction."""
REBALANCES_MAX = 8
OPERATIONS = (0, 0, 1, 2, 3)
"""Of an operator in one run."""
PAUSE_SECONDS = (0.001, 0.02, 0.3)
"""Between what the world does, at most."""
LOOK_SECONDS = 0.5
DRAIN_SECONDS_MAX = 600.0
"""Simulated; after this long without faults everything must be applied and appended."""


class Outcome(msgspec.Struct, kw_only=True):
    """What became of a run: ``failure`` is empty where everything holds."""

    seed: int
    subject: str
    turns: int
    records: int
    faults: int
    failure: str
    trace: list[str]


class Simulation:
    """One run of one seed."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.seed = seed
        self.trace: list[str] = []
        draw = random.Random(f"{seed}/plan")
        self.subject = draw.choice(tuple(SUBJECTS))
        self._draw = draw
        self._ground = ground
        self._turns = Turns(random.Random(f"{seed}/turns"), trace=self.trace.append)
        self._faults = Faults(random.Random(f"{seed}/faults"))
        self._budget = self._faults.left
        calm = Faults(random.Random(f"{seed}/calm"))
        calm.end()
        self._world = Process("world", calm, died=lambda _: None)
        self._broker = Broker(random.Random(f"{seed}/broker"), self._turns)
        self._broker.network = Process("network", calm, died=lambda _: None)
        self._definitions = stories.definitions()
        self._poisoned: set[tuple[int, int]] = set()
        self._parts = [ground.part(each) for each in SUBJECTS[self.subject]()]

    def run(self) -> Outcome:
        """Run to the end; whatever is wrong stands in the outcome."""
        turns, database = self._turns, self._ground.database
        database.network = self._broker.network
        turns.jumped = lambda: database.end_idle_transactions(turns.loop.now)
        failure = ""
        try:
            with (
                capture_logs(),
                simulated_sessions(database, turns) as connect,
                mock.patch.object(Applier, "timers_max", self._draw.choice(TIMERS_MAX)),
            ):
                turns.loop.run_until_complete(self._live(connect))
        except (AssertionError, StuckError) as error:
            failure = f"{type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001 - whatever a run ends with is the seed's finding
            failure = traceback.format_exc()
        finally:
            self._take_down()
        return Outcome(
            seed=self.seed,
            subject=self.subject,
            turns=turns.count,
            records=sum(len(self._records(each)) for each in range(PARTITIONS)),
            faults=self._budget - self._faults.left,
            failure=failure,
            trace=self.trace,
        )

    async def _live(self, connect: Connect) -> None:
        """Tell the story while things go wrong; then let everything come to rest, and judge."""
        shares = [
            (each.schema, partition)
            for part in self._parts
            for each in part.run
            for partition in range(PARTITIONS)
        ]
        size = self._draw.randint(1, PROCESSES_MAX)
        group = Group(size, shares, self._faults, self._new_member, self._world)
        await group.start()
        operated = self._draw.choice(self._parts).projection.name
        operator = Operator(self._broker, self._faults, operated, lambda: connect(""))
        await asyncio.gather(
            *(self._tell(each) for each in self._told()),
            self._stir(group),
            self._operate(operator),
        )
        assert not operator.differences, operator.differences
        self._budget -= self._faults.left
        self._faults.end()
        self._turns.note("no more faults")
        await group.settle()
        await self._drain()
        await group.end()
        await self._judge()

    def _told(self) -> list[Story]:
        draws = [random.Random(f"{self.seed}/story/{number}") for number in range(7)]
        ends = _Ends(self._broker)
        merges = all(isinstance(part.projection, Merging) for part in self._parts)
        return [
            *([Registrar(draws[6], 3).story()] if merges else []),
            Gateway(draws[0], 1).story(),
            Gateway(draws[1], 2).story(),
            Upstream(draws[2]).story(ends),
            stories.poison(draws[3]),
            stories.clocks(draws[4]),
            stories.requests(draws[5]),
        ]

    async def _tell(self, story: Story) -> None:
        each = next(story, None)
        while each is not None:
            await self._pause()
            await self._turns.take(self._world, "tell")
            ack = self._broker.append(CUSTOMER_EVENTS, each.partition, [each.record])
            if each.is_poison:
                self._poisoned.add((each.partition, ack.base_offset))
            try:
                each = story.send(ack.base_offset)
            except StopIteration:
                return

    async def _stir(self, group: Group) -> None:
        for _ in range(self._draw.randint(0, REBALANCES_MAX)):
            await self._pause()
            await self._turns.take(self._world, "rebalance")
            await group.rebalance()

    async def _operate(self, operator: Operator) -> None:
        for _ in range(self._draw.choice(OPERATIONS)):
            await self._pause()
            ends = [operator.end_letters] * (3 if "reminding" in self.subject else 1)
            operations = (operator.promote, operator.compare, *ends)
            await self._draw.choice(operations)()

    async def _pause(self) -> None:
        await asyncio.sleep(self._draw.random() * self._draw.choice(PAUSE_SECONDS))

    async def _drain(self) -> None:
        """Wait until every record is applied in both generations and every output appended."""
        monitor = self._ground.database.monitor
        deadline, behind = self._turns.loop.now + DRAIN_SECONDS_MAX, list[object]()
        ours = " UNION ALL ".join(
            f"SELECT '{each.schema}', partition, next_offset, live, stopped,"
            f" (SELECT count(*) FROM {each.schema}.outbox o WHERE o.partition = c.partition)"
            f" + (SELECT count(*) FROM {each.schema}.timers t"
            f"    WHERE t.partition = c.partition AND clock = '')"
            f" FROM {each.schema}.checkpoints c"
            for part in self._parts
            for each in part.run
        )
        while self._turns.loop.now < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            behind = [
                row
                for row in monitor.execute(ours.encode()).fetchall()
                if row[2] != len(self._records(row[1])) or row[5]
            ]
            if not behind and not self._broker.network.is_busy:
                return
        raise StuckError(f"not at rest after {DRAIN_SECONDS_MAX} s: {behind}")

    async def _judge(self) -> None:
        judging = Process("judge", self._world.faults, died=lambda _: None)
        for part in self._parts:
            sessions: list[Session] = []
            for each in part.generations:
                session = self._ground.database.open(judging, self._turns, each.schema)
                await prefer_key_lookups(session)
                sessions.append(session)
            verdict = Verdict(part, self._definitions, self._broker, judging)
            await verdict.judge(sessions, self._poisoned)
        judging.die()

    def _new_member(self, process: Process) -> Member:
        return Member(
            process,
            self._broker,
            self._parts,
            self._definitions,
            self._turns.note,
        )

    def _records(self, partition: int) -> list[Any]:
        return self._broker.records(CUSTOMER_EVENTS, partition)

    def _take_down(self) -> None:
        """End what still runs and give connections back, whatever became of the run."""
        loop = self._turns.loop
        for session in list(self._ground.database.sessions.values()):
            session.cut()
        loop.now = 0.0
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


class _Ends(dict[int, int]):
    """Where each partition ends at the moment it is asked."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._broker = broker

    def __getitem__(self, partition: int) -> int:
        return len(self._broker.records(CUSTOMER_EVENTS, partition))
