"""Operators: they promote the other generation, and whoever does it may die on the way.

An operation that was begun is carried out to its end, by another process if need be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import LiteralString

import psycopg
from psycopg import sql

from contracts.redrives import LetterId
from projections.kernel import generations
from projections.kernel.compare import CompareTimeoutError, compare
from projections.kernel.generations import Generation
from projections.kernel.holds import release
from projections.kernel.promotion import PromotionRefusedError, promote
from projections.kernel.redrive import end_letters
from projections.loyalty.differences import adjusting_entries
from services.runtime.kafka.errors import KafkaUnavailableError, OutcomeUnknownError
from services.runtime.postgres import DatabaseUnavailableError, Session
from tests.simulation.broker import Broker, SimulatedProducer
from tests.simulation.faults import Faults
from tests.simulation.processes import WHO, Process

ATTEMPTS_MAX = 50
UNAVAILABLE = (DatabaseUnavailableError, KafkaUnavailableError, OutcomeUnknownError)

DIFFERENCES = {"loyalty": adjusting_entries}
"""What tells the difference between two generations, by projection."""

_OPEN: LiteralString = """
SELECT partition, record_offset, timer FROM {} WHERE state = 'open' ORDER BY 1, 2, 3"""

Connect = Callable[[], Awaitable[Session]]


class Operator:
    """Carries out operations one after the other."""

    def __init__(self, broker: Broker, faults: Faults, projection: str, connect: Connect) -> None:
        self._broker = broker
        self._turns = broker.turns
        self._faults = faults
        self._projection = projection
        self._connect = connect
        self._attempts = 0
        self._is_done = False
        self.differences: list[str] = []
        """What it was told where generations differ."""

    async def promote(self) -> None:
        """Make the generation live that is not, or find a reason why that cannot be."""
        await self._carry_out(self._promote)

    async def compare(self) -> None:
        """Compare the two."""
        await self._carry_out(self._compare)

    async def end_letters(self) -> None:
        """Redrive or discard some dead letters that stand open."""
        await self._carry_out(self._end_letters)

    async def _carry_out(self, work: Callable[[], Awaitable[None]]) -> None:
        self._is_done = False
        for _ in range(ATTEMPTS_MAX):
            self._attempts += 1
            process = Process(f"o{self._attempts}", self._faults, died=lambda _: None)
            attempt = process.spawn(self._attempt(work))
            await asyncio.wait([attempt])
            if not attempt.cancelled():
                attempt.result()
            if self._is_done:
                return
            await asyncio.sleep(self._faults.draw.random())
        raise AssertionError("an operation does not come to its end")

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (psycopg.Error, *UNAVAILABLE) as error:
            self._turns.note(f"an operation will be tried again: {error}")
        except (PromotionRefusedError, CompareTimeoutError) as error:
            self._turns.note(f"an operation is refused: {error}")
            self._is_done = True
        else:
            self._is_done = True

    async def _promote(self) -> None:
        emit = self._projection in DIFFERENCES and self._faults.coin()

        async def work(
            reading: Session, steering: Session, live: Generation, candidate: Generation
        ) -> None:
            try:
                promotion = await promote(
                    reading,
                    steering,
                    live,
                    candidate,
                    differences=DIFFERENCES.get(self._projection),
                    emit_difference=emit,
                )
            except PromotionRefusedError as error:
                self.differences += [str(error)] if "differs" in str(error) else []
                raise
            self._turns.note(f"promoted at {promotion.offsets}")

        await self._beside_live(work)

    async def _compare(self) -> None:
        async def work(
            reading: Session, steering: Session, live: Generation, candidate: Generation
        ) -> None:
            comparison = await compare(reading, steering, live, candidate)
            if not comparison.equal:
                self.differences.append(f"generations differ at {comparison.offsets}")

        await self._beside_live(work)

    async def _end_letters(self) -> None:
        async with await self._connect() as session:
            live = await generations.live(session, self._projection)
            assert live is not None, "one is always live"
            query = sql.SQL(_OPEN).format(sql.Identifier(live.schema, "dead_letters"))
            rows = await (await session.execute(query)).fetchall()
            named = [str(LetterId(self._projection, *row)) for row in rows if self._faults.coin()]
            redrive = self._faults.coin()
            producer = SimulatedProducer(self._broker, WHO.get())
            ended = await end_letters(session, producer, live, named, redrive=redrive)
            self._turns.note(f"{'redriven' if redrive else 'discarded'}: {ended}")

    async def _beside_live(self, work: Callable[..., Awaitable[None]]) -> None:
        async with await self._connect() as steering, await self._connect() as reading:
            standing = (await generations.standing(steering, self._projection))[:2]
            live, candidate = sorted(standing, key=lambda each: each.state, reverse=True)
            await release(steering, live, candidate)
            await work(reading, steering, live, candidate)
