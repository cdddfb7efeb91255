"""Work on large requests in short turns, so that one request holds up no other.

Guarantee: work that asks ``is_due`` after each of its steps lets every other request go on after at
most ``TURN_SECONDS`` and one step; ``worked_seconds`` says how much it took.
"""

import asyncio
from time import perf_counter

from services.gateway.bounds import TURN_SECONDS


class Pace:
    """The pace of one request: ``if pace.is_due(): await pace.turn()``."""

    __slots__ = ("_since", "_until", "_worked_seconds")

    def __init__(self) -> None:
        self._since: float = perf_counter()
        self._until: float = self._since + TURN_SECONDS
        self._worked_seconds: float = 0.0

    @property
    def worked_seconds(self) -> float:
        """What the turns so far took, together."""
        return self._worked_seconds

    def is_due(self) -> bool:
        """True once the present turn was long enough."""
        return perf_counter() >= self._until

    async def turn(self) -> None:
        """Let others go on, and begin the next turn."""
        self._worked_seconds += perf_counter() - self._since
        await asyncio.sleep(0)
        self.resume()

    def resume(self) -> None:
        """Begin a turn after a wait, which is no work."""
        self._since = perf_counter()
        self._until = self._since + TURN_SECONDS
