"""Processes of the simulation: what lives and dies together.

A process that died runs nothing of its own any more: its connections are cut, and whatever its
tasks still try while they are taken down fails without effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar

from tests.simulation.faults import Faults
from tests.simulation.turns import Actor

GONE_SECONDS = 0.1
"""When what hangs in a dead process is taken down at the latest."""


class Process(Actor):
    """One process: its sessions, clients and tasks."""

    def __init__(self, name: str, faults: Faults, *, died: Callable[[Process], None]) -> None:
        super().__init__(name)
        self.faults = faults
        self.cuts: dict[int, Callable[[], None]] = {}
        """Cuts each of its connections."""
        self._died = died
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions = 0

    def next_session(self) -> int:
        """Number a session."""
        self._sessions += 1
        return self._sessions

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run something as part of this process."""
        token = WHO.set(self)
        task = asyncio.ensure_future(work)
        WHO.reset(token)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def crash(self) -> None:
        """Die here and now; does not return to whoever was doing I/O."""
        self.die()
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None, "I/O is done by tasks"
        loop.call_later(GONE_SECONDS, task.cancel)  # also where it was ending anyway
        await loop.create_future()

    def die(self) -> None:
        """Die."""
        if self.dead:
            return
        self.dead = True
        for cut in list(self.cuts.values()):
            cut()
        for task in list(self._tasks):
            task.cancel()
        self._died(self)

    @property
    def is_busy(self) -> bool:
        """Whether something that was spawned still runs."""
        return bool(self._tasks)


WHO: ContextVar[Process] = ContextVar("WHO")
"""The process on whose behalf a task runs."""
