"""Making time pass in the log when nothing else does: the tick.

Guarantee: when a timer of a live partition is due by this machine's clock and no record has come,
a record that says so is appended; the timer fires when it is read, by the log's own time. Ticks
are hints: one too many or too early changes nothing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from contracts import codec
from contracts.clocks import CLOCK_TICKED, ClockTicked
from contracts.cloudevent import CloudEvent
from contracts.identifiers import derived_id
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.timers import NEVER
from services.runtime.clock import Clock
from services.runtime.kafka.errors import KafkaUnavailableError, OutcomeUnknownError

TICKS_A_SECOND_MAX = 4
"""Of one partition: what falls due meanwhile fires at the next one."""
UNREAD_SECONDS = 0.25
"""How long a tick may take to come back before another is appended."""
LOOK_SECONDS = 1.0
"""How often the machine's clock is looked at while it may step."""

Append = Callable[[CloudEvent], Awaitable[None]]


class Ticker:
    """Watches when one live partition's next timer is due."""

    def __init__(self, projection: str, append: Append, clock: Clock) -> None:
        self._projection = projection
        self._append = append
        self._clock = clock
        self._held: Checkpoint | None = None
        self._due = NEVER
        self._is_idle = False
        self._changed = asyncio.Event()
        self._ticked_at: deque[float] = deque(maxlen=TICKS_A_SECOND_MAX)

    def know(self, due: datetime, held: Checkpoint) -> None:
        """Hear when the next timer is due, and that no record is known beyond the checkpoint."""
        self._due, self._held, self._is_idle = due, held, True
        self._changed.set()

    def busy(self) -> None:
        """Hear that records have come, which move time by themselves."""
        self._is_idle = False

    async def run(self) -> None:
        """Tick when it is due, until cancelled."""
        while True:
            self._changed.clear()
            seconds = (self._due - self._clock.now()).total_seconds()
            if seconds > 0 or not self._is_idle or self._held is None:
                await self._rest(None if self._due is NEVER else min(max(seconds, 0), LOOK_SECONDS))
                continue
            if (room_in := self._room_in()) > 0:
                await asyncio.sleep(room_in)
                continue
            self._ticked_at.append(asyncio.get_running_loop().time())
            with suppress(KafkaUnavailableError, OutcomeUnknownError):
                await self._append(self._tick(self._held))
            await self._rest(UNREAD_SECONDS)

    async def _rest(self, seconds: float | None) -> None:
        """Wait for news, at most so long; the shortest rest lets others run."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds is None else max(seconds, 0.001)):
                await self._changed.wait()

    def _room_in(self) -> float:
        """Say in how many seconds there is room for another tick."""
        if len(self._ticked_at) < TICKS_A_SECOND_MAX:
            return 0
        return self._ticked_at[0] + 1 - asyncio.get_running_loop().time()

    def _tick(self, held: Checkpoint) -> CloudEvent:
        now = self._clock.now()
        place = f"{held.partition}/{held.next_offset}"
        return CloudEvent(
            id=derived_id("tick_", self._projection, place, self._due.isoformat()),
            source=f"{self._projection}/clock",
            type=CLOCK_TICKED,
            subject="clock",
            time=self._due,
            workspace="",
            recordedtime=now,
            definitionsrevision=0,
            data=codec.raw(ClockTicked(due=self._due)),
        )
