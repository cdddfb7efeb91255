"""Brings what matters of the children's logs to the console: warnings and errors, a line each.

A child in trouble may log thousands of lines a second; of each child a few are shown, and the rest
counted. Everything stands in its file, which is cut when it has grown large: the present part moves
to ``<name>.log.1``, and what a child writes in that very moment may be lost.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

POLL_SECONDS = 0.25
READ_BYTES_MAX = 1024 * 1024  # of one file in one look; what is left comes with the next
SHOWN_PER_LOOK_MAX = 3  # lines of one child
FILE_BYTES_MAX = 64 * 1024 * 1024  # of one log; with its predecessor a child keeps twice that
IMPORTANT = ("warning", "error", "critical")
OURS = (
    "services.",
    "projections.",
    "__main__",
)  # a client library complains of every broken connection


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a line."""

    event: str
    level: str
    logger: str
    error: str | None = None


class LogWatch:
    """Follows log files from their present end."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._files: dict[str, BinaryIO] = {}

    def add(self, name: str, file: Path) -> None:
        """Follow the log of a child from now on."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        opened = file.open("rb")
        opened.seek(0, 2)
        self._files[name] = opened

    async def follow(self) -> None:
        """Report until cancelled."""
        try:
            while True:
                for name, file in self._files.items():
                    self._look(name, file)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            for file in self._files.values():
                file.close()

    def _look(self, name: str, file: BinaryIO) -> None:
        lines = file.read(READ_BYTES_MAX).splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            file.seek(-len(lines.pop()), 1)
        important = [line for line in map(_parsed, lines) if line is not None]
        for line in important[:SHOWN_PER_LOOK_MAX]:
            reason = f": {line.error}" if line.error else ""
            self._report(f"{name}: {line.event}{reason}")
        if len(important) > SHOWN_PER_LOOK_MAX:
            self._report(f"{name}: and {len(important) - SHOWN_PER_LOOK_MAX} more such lines")
        if file.tell() > FILE_BYTES_MAX:
            _cut(file)


def _cut(file: BinaryIO) -> None:
    """Move what stands in a log aside; the child goes on appending to the same file."""
    path = Path(file.name)
    shutil.copyfile(path, path.with_suffix(".log.1"))
    os.truncate(path, 0)
    file.seek(0)


def _parsed(line: bytes) -> LogLine | None:
    """Return an important line of ours; what is not in our form says nothing to people."""
    try:
        parsed = msgspec.json.decode(line, type=LogLine)
    except msgspec.DecodeError:
        return None
    is_important = parsed.level in IMPORTANT and parsed.logger.startswith(OURS)
    return parsed if is_important else None
