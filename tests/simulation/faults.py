"""What may go wrong, and how often, as a seed decides it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import Enum

BUDGET_MAX = 14
"""Faults of one run at most: after the last one it gets somewhere."""
RATES = (0.0, 0.01, 0.03, 0.1)
"""How often a kind of fault strikes at an I/O where it can."""
FROZEN_TURNS_MAX = 120


class Fault(Enum):
    """What strikes at an I/O.

    A cut connection, a death and an outage come before the I/O has its effect, after it had, or
    before it has it all the same, later, when others have gone on.
    """

    CUT_BEFORE = "cut before"
    CUT_AFTER = "cut after"
    CUT_LATE = "cut, effect late"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    CRASH_LATE = "crash, effect late"
    FREEZE = "freeze"


class Faults:
    """Decides at each I/O whether something strikes."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.left = draw.randint(0, BUDGET_MAX)
        self._rates = {fault: draw.choice(RATES) for fault in Fault}

    def strike(
        self, among: Sequence[Fault] = tuple(Fault), *, times_as_often: int = 1
    ) -> Fault | None:
        """Draw what strikes now, if anything."""
        if not self.left:
            return None
        fault = self.draw.choice(among)
        if self.draw.random() >= self._rates[fault] * times_as_often:
            return None
        self.left -= 1
        return fault

    def coin(self) -> bool:
        """Toss a coin."""
        return self.draw.random() < 0.5

    def frozen_turns(self) -> int:
        """Draw for how many turns of others somebody is frozen."""
        return self.draw.randint(1, FROZEN_TURNS_MAX)

    def end(self) -> None:
        """Let nothing strike from now on."""
        self.left = 0
