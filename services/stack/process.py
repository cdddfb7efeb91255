"""A child process on a leash: it never outlives its parent, and stops within a deadline.

Start from the main thread only: the kernel's wish belongs to the thread that forked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from services.stack.errors import ServerFailedError

LEASH = Path(__file__).with_name("leash.py")
STOP_DEADLINE_SECONDS = 15.0  # a clean stop takes 1 to 3; after this the child is killed
KILL_DEADLINE_SECONDS = 10.0  # only a process stuck in the kernel takes longer
READY_DEADLINE_SECONDS = 60.0  # a server is ready in 2; a machine with other work takes its time
POLL_SECONDS = 0.02


class ProcessPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one child is run.

    Attributes:
        name: unique within a stack; shown to people.
        command: program and arguments.
        environment: variables added to the parent's own.
        log_file: where both outputs go, appended.
        user: numeric id to run as; absent keeps the parent's.
        stop_signal: asks for a clean stop.
        death_signal: what the kernel sends when the parent is gone.
        stop_deadline_seconds: between the stop signal and SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    log_file: Path
    environment: dict[str, str] = {}
    user: int | None = None
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    stop_deadline_seconds: float = STOP_DEADLINE_SECONDS


class Process:
    """One running child, in a session of its own so that Ctrl-C reaches the parent alone."""

    def __init__(self, plan: ProcessPlan) -> None:
        """Start the child."""
        assert threading.current_thread() is threading.main_thread(), (
            "a leashed child is started by the main thread, else it dies with the thread"
        )
        self.plan = plan
        plan.log_file.parent.mkdir(parents=True, exist_ok=True)
        with plan.log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                leashed(plan.command, death_signal=plan.death_signal, user=plan.user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **plan.environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._popen.pid

    def exit_status(self) -> int | None:
        """Return the status, negative for a signal, or None while it runs."""
        return self._popen.poll()

    def send(self, signal_number: int) -> None:
        """Send a signal; nothing happens when the child has ended."""
        if self.exit_status() is None:
            self._popen.send_signal(signal_number)

    def wait(self, deadline_seconds: float) -> bool:
        """Return whether the child ended within the deadline."""
        try:
            self._popen.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_until(self, is_ready: Callable[[], bool], name: str) -> None:
        """Return once the server that this child is says so.

        Raises:
            ServerFailedError: it ended, or was not ready within ``READY_DEADLINE_SECONDS``.
        """
        deadline = time.monotonic() + READY_DEADLINE_SECONDS
        while not is_ready():
            if self.exit_status() is not None or time.monotonic() > deadline:
                msg = f"{name} did not start.\n{tail(self.plan.log_file)}"
                raise ServerFailedError(msg)
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ask for a clean stop, then insist."""
        self.send(self.plan.stop_signal)
        if not self.wait(self.plan.stop_deadline_seconds):
            self.kill()

    def kill(self) -> None:
        """End the child at once."""
        self.send(signal.SIGKILL)
        ended = self.wait(KILL_DEADLINE_SECONDS)
        assert ended, "a killed process ends"


def leashed(
    command: Sequence[str], *, death_signal: int = signal.SIGKILL, user: int | None = None
) -> list[str]:
    """Return the command that runs ``command`` until this process ends."""
    run_as = "-" if user is None else str(user)
    leash = [sys.executable, "-I", "-S", str(LEASH)]
    return [*leash, str(os.getpid()), str(int(death_signal)), run_as, *command]


def tail(log_file: Path, *, lines: int = 15, bytes_max: int = 16_384) -> str:
    """Return the last lines of a log, for a message about a child that failed."""
    if not log_file.exists():
        return ""
    with log_file.open("rb") as log:
        log.seek(max(0, log_file.stat().st_size - bytes_max))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
