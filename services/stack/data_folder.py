"""The data folder: who uses it, its secrets, and where everything in it lies.

One start at a time holds it, by a lock that the kernel drops with the process, however that ends.
Secrets are files readable by their owner alone, made once; a folder made here is listed by its
owner alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from services.stack.errors import AlreadyRunningError, StackError

OWNER_ONLY = 0o600
OWNERS_FOLDER = 0o700
ROOTS_FOLDER = 0o711  # root's PostgreSQL runs as another user, who passes through to its own folder
LOG_KEPT_BYTES = 16 * 1024 * 1024  # a larger log of the last run makes room at the next start


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a data folder.

    Attributes:
        pid: of the process that supervises the stack.
        url: of its front door.
    """

    pid: int
    url: str


class DataFolder:
    """One folder with everything that a stack keeps."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            if not self.path.is_dir():
                self.path.mkdir(parents=True)
                self.path.chmod(ROOTS_FOLDER if os.geteuid() == 0 else OWNERS_FOLDER)
        except OSError as error:
            msg = f"The data folder {self.path} cannot be made ({error.strerror}); name another "
            raise StackError(msg + "by UPSHOT_DATA_DIR.") from error

    @property
    def kafka(self) -> Path:
        """The embedded broker's home."""
        return self.path / "kafka"

    @property
    def postgres(self) -> Path:
        """The embedded database's home."""
        return self.path / "postgres"

    @property
    def ports_file(self) -> Path:
        """The ports of the last start."""
        return self.path / "ports.json"

    def log_file(self, name: str) -> Path:
        """Return where a child's output goes; a log grown large becomes ``<name>.log.1``."""
        file = self.path / "logs" / f"{name}.log"
        file.parent.mkdir(exist_ok=True)
        if file.exists() and file.stat().st_size > LOG_KEPT_BYTES:
            file.replace(file.with_suffix(".log.1"))
        return file

    @contextmanager
    def held(self, url: str) -> Generator[None]:
        """Hold the folder.

        Raises:
            AlreadyRunningError: another process does; the message names it and its URL.
        """
        file = self.path / "running.json"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        with os.fdopen(descriptor, "r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as held:
                raise AlreadyRunningError(_already_running(lock.read(), self.path)) from held
            lock.truncate(0)
            lock.write(msgspec.json.encode(Holder(pid=os.getpid(), url=url)))
            lock.flush()
            yield

    def secret(self, name: str, given: str, make: Callable[[], str]) -> tuple[str, bool]:
        """Return a secret, and whether it was made just now.

        Args:
            name: of its file.
            given: by the settings; it wins, and is not written down.
            make: draws a new one.
        """
        if given:
            return given, False
        file = self.path / f"{name}.secret"
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        except FileExistsError:
            return file.read_text().strip(), False
        made = make()
        with os.fdopen(descriptor, "w") as written:
            written.write(made + "\n")
        return made, True


def _already_running(content: bytes, folder: Path) -> str:
    try:
        holder = msgspec.json.decode(content, type=Holder)
    except msgspec.DecodeError:
        return f"Upshot is just starting on {folder}."
    return f"Upshot is already running on {folder}: process {holder.pid}, {holder.url}"
