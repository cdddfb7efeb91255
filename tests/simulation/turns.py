"""Whose turn it is: an event loop with a time of its own, on which one actor at a time does I/O.

Guarantee: every I/O waits for its turn, and when nothing else can run the seed decides who gets the
next one. Time passes by turns and jumps to the next timer when nobody wants one: no sleep costs
real time. The same seed gives the same order.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable

TURN_SECONDS_MAX = 0.004
"""What a turn takes of simulated time at most: a statement, an append, a fetch."""
IMPATIENCE = 0.01
"""How often time jumps to the next timer although somebody could have a turn: a slow I/O."""
TURNS_MAX = 60_000
"""More turns than any run needs: somebody goes round in circles."""


class StuckError(AssertionError):
    """Nobody can go on, or nobody comes to an end."""


class Actor:
    """Whoever does I/O: a process that can be frozen or die, or a part of the world."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.thaws_at: int | None = None
        """The turn at which it goes on, where it is frozen."""


class _Turn:
    def __init__(
        self,
        actor: Actor,
        what: str,
        number: int,
        given: asyncio.Future[None],
        is_able: Callable[[], bool] | None,
    ) -> None:
        self.actor = actor
        self.what = what
        self.order = (actor.name, what, number)
        self.given = given
        self.is_able = is_able


class _Selector(selectors.SelectSelector):
    """Asks for the next turn where a loop would wait."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._idle(timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop that ``Turns`` drives."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        self.now = 0.0
        super().__init__(_Selector(idle))

    def time(self) -> float:
        """The simulated time."""
        return self.now


class Turns:
    """Gives turns, one at a time."""

    def __init__(self, draw: random.Random, *, trace: Callable[[str], None]) -> None:
        self.loop = SimulatedLoop(self._idle)
        self.count = 0
        self.jumped: Callable[[], None] = lambda: None
        """Called when time jumped."""
        self._draw = draw
        self._trace = trace
        self._waiting: list[_Turn] = []
        self._frozen: list[Actor] = []
        self._asked = 0

    async def take(
        self, actor: Actor, what: str, is_able: Callable[[], bool] | None = None
    ) -> None:
        """Wait for a turn.

        Args:
            is_able: says whether a turn would be of use now.
        """
        self._asked += 1
        turn = _Turn(actor, what, self._asked, self.loop.create_future(), is_able)
        self._waiting.append(turn)
        try:
            await turn.given
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def freeze(self, actor: Actor, turns: int) -> None:
        """Give an actor no turn for so many turns of others."""
        actor.thaws_at = self.count + turns
        self._frozen.append(actor)

    def thaw(self, actor: Actor) -> None:
        """Let an actor have turns again."""
        actor.thaws_at = None
        self._frozen = [each for each in self._frozen if each is not actor]

    def note(self, text: str) -> None:
        """Write a line of the run's trace."""
        self._trace(f"{self.count:6} {self.loop.now:10.4f} {text}")

    def _idle(self, timeout: float | None) -> None:
        """Give the next turn, or let time pass until the next timer."""
        for actor in [each for each in self._frozen if (each.thaws_at or 0) <= self.count]:
            self.thaw(actor)
        able = sorted(
            (turn for turn in self._waiting if self._may_go(turn)), key=lambda turn: turn.order
        )
        if able and (timeout is None or self._draw.random() > IMPATIENCE):
            self._give(self._draw.choice(able))
        elif self._frozen and (timeout is None or self._draw.random() < 0.5):
            self.thaw(self._frozen[0])
        elif timeout is not None:
            self.loop.now += timeout
            self.jumped()
        else:
            waiting = ", ".join(f"{turn.actor.name} {turn.what}" for turn in self._waiting)
            raise StuckError(f"nobody can go on: {waiting}")

    def _give(self, turn: _Turn) -> None:
        self.count += 1
        if self.count > TURNS_MAX:
            raise StuckError("nobody comes to an end")
        self.loop.now += self._draw.random() * TURN_SECONDS_MAX
        self.note(f"{turn.actor.name} {turn.what}")
        self._waiting.remove(turn)
        turn.given.set_result(None)

    @staticmethod
    def _may_go(turn: _Turn) -> bool:
        if turn.actor.thaws_at is not None or turn.given.done():
            return False
        return turn.is_able is None or turn.is_able()
