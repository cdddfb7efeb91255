"""The whole system as a user starts it: `upshot run` as a process, spoken to over HTTP."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from services.stack.ports import LOOPBACK, free_port
from tests.support.eventually import eventually_sync

START_SECONDS = 240.0  # ten at rest; a machine with other work takes its time
STOP_SECONDS = 60.0
REQUEST_SECONDS = 40.0  # beyond any deadline of the server's own
GREETING = "Upshot is running"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back over HTTP; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Upshot:
    """A running system."""

    def __init__(self, process: subprocess.Popen[str], url: str, data_dir: Path) -> None:
        self.process = process
        self.url = url
        self.data_dir = data_dir
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """Everything its terminal showed so far."""
        return "\n".join(self.lines)

    @property
    def admin_key(self) -> str:
        """The generated key."""
        return (self.data_dir / "admin-key.secret").read_text().strip()

    def child_pids(self) -> dict[str, int]:
        """Return the present process of each child, by its name in the stack."""
        names = {
            "services.gateway": "gateway",
            "services.api": "api",
            "services.dispatcher": "dispatcher",
            "projections.customers": "customers",
            "projections.loyalty": "loyalty",
            "kafka.Kafka": "kafka",
        }
        found: dict[str, int] = {}
        for pid in children_of(self.process.pid):
            words = command_of(pid)
            if words and words[0].endswith("/postgres"):
                found["postgres"] = pid
            for word in words:
                if word in names:
                    found[names[word]] = pid
        return found

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask the front door, with the admin key unless the headers name another."""
        given = {"Authorization": f"Bearer {self.admin_key}", **(headers or {})}
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=REQUEST_SECONDS)
        try:
            encoded = body.encode() if isinstance(body, str) else body
            connection.request(method, path, encoded, given)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=named, body=answer.read())
        finally:
            connection.close()

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        code = self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        return code

    def stop_by_itself(self) -> int:
        """Wait for the end of a start that is refused; returns the exit code."""
        code = self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        return code

    def wait_until_running(self) -> None:
        """Return when it has greeted; fail with what it said otherwise."""

        def greeted() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(self.output)
            assert GREETING in self.output, self.output
            return True

        eventually_sync(greeted, START_SECONDS)

    def _read(self) -> None:
        assert self.process.stdout is not None, "the output is a pipe"
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))


def start_upshot(data_dir: Path, settings: Mapping[str, str] | None = None) -> Upshot:
    """Start `upshot run` on a data folder, on a free port, and return at once.

    Args:
        data_dir: absent, empty, or of an earlier start.
        settings: further environment; without ``UPSHOT_KAFKA`` and ``UPSHOT_POSTGRES`` both are
            embedded.
    """
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UPSHOT")}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("upshot")), "run"],
        env={
            **inherited,
            "UPSHOT_DATA_DIR": str(data_dir),
            "UPSHOT_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            **(settings or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return Upshot(process, f"http://{LOOPBACK}:{port}", data_dir)


@contextmanager
def running_upshot(data_dir: Path, settings: Mapping[str, str] | None = None) -> Generator[Upshot]:
    """Run the whole system; it is stopped at the end, whatever happens."""
    upshot = start_upshot(data_dir, settings)
    try:
        upshot.wait_until_running()
        yield upshot
    finally:
        try:
            upshot.stop()
        except subprocess.TimeoutExpired:
            upshot.process.kill()
            raise


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return []
    found: list[int] = []
    for task in tasks:
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def command_of(pid: int) -> list[str]:
    """Return the command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid: int) -> bool:
    """Return whether a process runs (one that nobody has buried yet does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def family_of(pid: int) -> list[int]:
    """Return every process below one, at any depth."""
    children = children_of(pid)
    return children + [each for child in children for each in family_of(child)]
