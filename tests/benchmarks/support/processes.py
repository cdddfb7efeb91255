"""Child processes of a benchmark: started on chosen cores, measured, and always ended by pid.

A child prints one line of JSON and ends, or serves until it is told to end. Its standard error
goes to a file, whose end is quoted when the child fails.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10.0  # Kafka clients leave their group and flush before they end
READY_SECONDS = 60.0  # a JVM or a Faust worker on a busy machine
POLL_SECONDS = 0.02
QUOTED_BYTES = 2_000
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

Environment = dict[str, str]


class ChildFailedError(Exception):
    """A benchmark's process ended or stayed silent; the end of its log follows."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process has used so far."""

    cpu_seconds: float
    peak_memory_bytes: int


class Child:
    """A running process and the file that its standard error goes to."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def usage(self) -> Usage:
        """CPU time (user and system, seconds) and peak resident memory (bytes) of the process."""
        return usage_of(self.pid)

    def complaint(self) -> str:
        written = self.log.read_bytes()[-QUOTED_BYTES:].decode(errors="replace")
        return f"exit {self.process.returncode}: {written}"


def usage_of(pid: int) -> Usage:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_seconds = (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return Usage(cpu_seconds=cpu_seconds, peak_memory_bytes=int(peak_kib) * 1024)


@asynccontextmanager
async def running(
    argv: Sequence[str],
    *,
    scratch: Path,
    name: str,
    environment: Environment | None = None,
    cores: frozenset[int] = frozenset(),
) -> AsyncGenerator[Child]:
    """Run a program for the length of the block; it is ended with SIGTERM, at last SIGKILL.

    Args:
        argv: the program and its arguments.
        scratch: the folder of its log.
        name: of its log.
        environment: added to this process's own.
        cores: the processor numbers it may use; empty: all.
    """
    log = scratch / f"{name}.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: _prepared(cores),
            start_new_session=True,
        )
    try:
        yield Child(process, log)
    finally:
        await _ended(process)


async def answered(
    argv: Sequence[str],
    *,
    scratch: Path,
    name: str,
    stdin: bytes = b"",
    environment: Environment | None = None,
    cores: frozenset[int] = frozenset(),
    seconds: float,
) -> bytes:
    """Run a program to its end and return the last line of JSON that it printed.

    Raises:
        ChildFailedError: it failed, printed no JSON or took more than ``seconds``.
    """
    async with running(
        argv, scratch=scratch, name=name, environment=environment, cores=cores
    ) as child:
        try:
            printed, _ = await asyncio.wait_for(child.process.communicate(stdin), seconds)
        except TimeoutError as error:
            raise ChildFailedError(f"{name} after {seconds} s: {child.complaint()}") from error
        lines = [line for line in printed.splitlines() if line.startswith(b"{")]
        if child.process.returncode != 0 or not lines:
            raise ChildFailedError(f"{name}, {child.complaint()}")
        return lines[-1]


async def listening(child: Child, port: int) -> None:
    """Wait until the child accepts connections on 127.0.0.1.

    Raises:
        ChildFailedError: it ended first, or READY_SECONDS passed.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and child.process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(POLL_SECONDS)
        else:
            writer.close()
            return
    raise ChildFailedError(f"nothing listens on port {port}, {child.complaint()}")


def python(module: str, *arguments: str) -> list[str]:
    """The command line of a module under the interpreter that runs the benchmark."""
    return [sys.executable, "-m", module, *arguments]


def _prepared(cores: frozenset[int]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if cores:
        os.sched_setaffinity(0, cores)


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
