"""Operators: they promote the other generation, and whoever does it may die on the way.

An operation that was begun is carried out to its end, by another process if need be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg

from projections.kernel import generations
from projections.kernel.compare import CompareTimeoutError, compare
from projections.kernel.generations import Generation
from projections.kernel.holds import release
from projections.kernel.promotion import PromotionRefusedError, promote
from services.runtime.postgres import DatabaseUnavailableError, Session
from tests.simulation.faults import Faults
from tests.simulation.processes import Process
from tests.simulation.turns import Turns

ATTEMPTS_MAX = 50

Connect = Callable[[], Awaitable[Session]]


class Operator:
    """Carries out operations one after the other."""

    def __init__(self, turns: Turns, faults: Faults, projection: str, connect: Connect) -> None:
        self._turns = turns
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
        except (psycopg.Error, DatabaseUnavailableError) as error:
            self._turns.note(f"an operation will be tried again: {error}")
        except (PromotionRefusedError, CompareTimeoutError) as error:
            self._turns.note(f"an operation is refused: {error}")
            self._is_done = True
        else:
            self._is_done = True

    async def _promote(self) -> None:
        async def work(reading: Session, steering: Session, *both: Generation) -> None:
            try:
                promotion = await promote(reading, steering, *both)
            except PromotionRefusedError as error:
                self.differences += [str(error)] if "differs" in str(error) else []
                raise
            self._turns.note(f"promoted at {promotion.offsets}")

        await self._beside_live(work)

    async def _compare(self) -> None:
        async def work(reading: Session, steering: Session, *both: Generation) -> None:
            comparison = await compare(reading, steering, *both)
            if not comparison.equal:
                self.differences.append(f"generations differ at {comparison.offsets}")

        await self._beside_live(work)

    async def _beside_live(self, work: Callable[..., Awaitable[None]]) -> None:
        async with await self._connect() as steering, await self._connect() as reading:
            standing = (await generations.standing(steering, self._projection))[:2]
            live, candidate = sorted(standing, key=lambda each: each.state, reverse=True)
            await release(steering, live, candidate)
            await work(reading, steering, live, candidate)
