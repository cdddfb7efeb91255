"""What a command shows: tables and sentences for people, or JSON for programs.

Guarantee: with ``as_json`` stdout carries JSON alone; progress and errors go to stderr. Text that
came from elsewhere cannot steer the terminal: what is not printable is shown escaped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS: Final = 400
"""Width of a table that is no terminal's: nothing is cut off for the program that reads it."""

Cell = str | int | None


class Screen:
    """The terminal of one command."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json: Final = as_json
        self._out: Final = _console(stderr=False)
        self._err: Final = _console(stderr=True)

    def json(self, value: object) -> None:
        """Write one JSON document to stdout, on a line of its own."""
        if self._as_json:
            self._write_json(value)

    def json_list(self, rows: Sequence[object]) -> None:
        """Write a list as the API answers lists, all its pages as one."""
        self.json({"object": "list", "data": rows, "next_cursor": None})

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """Show a table; columns whose name ends in ``#`` hold numbers."""
        if self._as_json:
            return
        shown = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            name = column.removesuffix("#")
            shown.add_column(name, justify="right" if name != column else "left", overflow="fold")
        for row in rows:
            shown.add_row(*(printable("-" if cell is None else str(cell)) for cell in row))
        self._out.print(shown)

    def say(self, sentence: str, style: str = "") -> None:
        """Show a sentence among the results."""
        if not self._as_json:
            self._out.print(printable(sentence), style=style, soft_wrap=True)

    def note(self, sentence: str, style: str = "yellow") -> None:
        """Show a sentence beside the results, on stderr."""
        self._err.print(printable(sentence), style=style, soft_wrap=True)

    def progress(self, *columns: ProgressColumn) -> Progress:
        """Make a progress bar on stderr; it is silent where that is no terminal."""
        hidden = not self._err.is_terminal
        return Progress(*columns, console=self._err, disable=hidden, transient=True)

    def _write_json(self, value: object) -> None:
        encoded = msgspec.json.encode(value) + b"\n"
        self._out.file.flush()
        self._out.file.write(encoded.decode())
        self._out.file.flush()


def printable(text: str) -> Text:
    """Escape what is not printable, line breaks of a sentence apart."""
    return Text(
        "".join(
            each if each == "\n" or each.isprintable() else each.encode("unicode_escape").decode()
            for each in text
        )
    )


def instant(at: datetime | None) -> str | None:
    """Spell a time for people: UTC, to the second."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    return console
