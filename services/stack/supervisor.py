"""Keeps children running: what ends unasked is started again, and every such end is reported.

Stopping goes stage by stage from the last to the first, so that the doors close before what they
lead to; within a stage all stop together. A child that ignores its deadline is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import msgspec

from services.stack.errors import ServerFailedError
from services.stack.process import KILL_DEADLINE_SECONDS, Process, ProcessPlan, tail

BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 10.0  # a broken child costs a start every ten seconds, and is seen
STABLE_SECONDS = 30.0  # ran this long: the next end is a new trouble, not the same one
READY_POLL_SECONDS = 0.05
STARTS_BEFORE_READY_MAX = 6  # ends of a child that was never ready (12 s): it cannot start

Report = Callable[[str], None]
"""Takes a sentence for whoever watches."""


class Supervised(msgspec.Struct, kw_only=True):
    """A child under supervision.

    Attributes:
        plan: how it is run.
        stage: what stops later has the lower number.
        process: the present one.
        starts: how often it was started.
        started_at: monotonic seconds.
    """

    plan: ProcessPlan
    stage: int
    process: Process
    starts: int
    started_at: float
    watcher: asyncio.Task[None] | None = None


class Supervisor:
    """Runs plans; belongs to one event loop, in the main thread."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._children: dict[str, Supervised] = {}
        self._stopping = False

    @property
    def pids(self) -> dict[str, int]:
        """The present process of each child."""
        return {name: child.process.pid for name, child in self._children.items()}

    def start(self, plan: ProcessPlan, *, stage: int) -> None:
        """Start a child and watch over it."""
        assert plan.name not in self._children, f"{plan.name} is started once"
        child = Supervised(
            plan=plan, stage=stage, process=Process(plan), starts=1, started_at=time.monotonic()
        )
        self._children[plan.name] = child
        child.watcher = asyncio.create_task(self._watch(child), name=f"watch {plan.name}")

    async def ready(self, name: str, check: Callable[[], bool], deadline_seconds: float) -> None:
        """Return once ``check`` (asked in a thread) holds.

        Raises:
            ServerFailedError: it did not within the deadline, or the child cannot start.
        """
        child = self._children[name]
        deadline = time.monotonic() + deadline_seconds
        while not await asyncio.to_thread(check):
            if time.monotonic() > deadline or child.starts > STARTS_BEFORE_READY_MAX:
                msg = f"{name} did not get ready.\n{tail(child.plan.log_file)}"
                raise ServerFailedError(msg)
            await asyncio.sleep(READY_POLL_SECONDS)

    async def stop(self) -> None:
        """Stop every child, the highest stage first."""
        self._stopping = True
        stages = sorted({child.stage for child in self._children.values()}, reverse=True)
        for stage in stages:
            members = [child for child in self._children.values() if child.stage == stage]
            await asyncio.gather(*(_stopped(child) for child in members))
        watchers = [child.watcher for child in self._children.values() if child.watcher]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        self._children.clear()

    async def _watch(self, child: Supervised) -> None:
        backoff_seconds = BACKOFF_FIRST_SECONDS
        while not self._stopping:
            await _ended(child.process)
            if self._stopping:
                return
            if time.monotonic() - child.started_at > STABLE_SECONDS:
                backoff_seconds = BACKOFF_FIRST_SECONDS
            self._report(
                f"{child.plan.name} {how_it_ended(child.process.exit_status())}; "
                f"starting it again in {backoff_seconds:g} s (log: {child.plan.log_file})"
            )
            await asyncio.sleep(backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, BACKOFF_MAX_SECONDS)
            if self._stopping:
                return
            try:
                child.process = Process(child.plan)
            except OSError as error:  # no memory, no processes, no disk: it may pass
                self._report(f"{child.plan.name} cannot be started: {error}")
                continue
            child.starts += 1
            child.started_at = time.monotonic()


def how_it_ended(status: int | None) -> str:
    """Say in words what an exit status means."""
    if status is None:
        return "is running"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


async def _ended(process: Process) -> None:
    """Return once the process has ended; nothing is polled meanwhile."""
    if process.exit_status() is not None:
        return
    descriptor = os.pidfd_open(process.pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    process.wait(KILL_DEADLINE_SECONDS)


async def _stopped(child: Supervised) -> None:
    process = child.process
    process.send(child.plan.stop_signal)
    try:
        async with asyncio.timeout(child.plan.stop_deadline_seconds):
            await _ended(process)
    except TimeoutError:
        process.kill()
