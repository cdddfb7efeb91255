"""Figures as a table on the terminal and as a section of BENCHMARKS.md.

A section is replaced when its benchmark is written again and kept otherwise, so that each stands
with the date and the machine of its own run.
"""

import os
import platform
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.support.figures import Figure, Goal, Line, judged

TITLE = "# Benchmarks\n\n"
PREFACE = (
    "Written by `make bench`. Broker, database, load and what is measured share the machine; a\n"
    "ratio compares two figures of one run on one broker and is what to trust, the numbers\n"
    "themselves follow the machine.\n"
)
BYTES_PER_GIB = 1024**3


def shown(name: str, figures: Sequence[Figure], console: Console) -> None:
    """Print one benchmark's figures."""
    table = Table(title=name, title_justify="left")
    for column in ("figure", "value", "unit", "ratio", "goal", "met"):
        table.add_column(column, justify="right" if column in {"value", "ratio"} else "left")
    for line in judged(figures):
        table.add_row(*_cells(line))
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"{figure.name}: {figure.note}", style="dim", highlight=False)


def written(path: Path, name: str, figures: Sequence[Figure], measured_at: datetime) -> None:
    """Put one benchmark's section into the file, in place of the one it had."""
    text = path.read_text() if path.exists() else ""
    sections = dict(_sections(text))
    sections[name] = _section(figures, measured_at)
    body = "\n".join(f"## {title}\n\n{content}" for title, content in sorted(sections.items()))
    path.write_text(f"{TITLE}{PREFACE}\n{body}")


def machine() -> str:
    """The machine in one line: processor, cores, memory, system, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / BYTES_PER_GIB
    cores = len(os.sched_getaffinity(0))
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


def _section(figures: Sequence[Figure], measured_at: datetime) -> str:
    rows = [
        "| figure | value | unit | ratio | goal | met |",
        "|---|--:|---|--:|---|---|",
        *("| " + " | ".join(_cells(line)) + " |" for line in judged(figures)),
    ]
    notes = [f"- {figure.name}: {figure.note}" for figure in figures if figure.note]
    where = f"{measured_at:%Y-%m-%d %H:%M} UTC, {machine()}."
    return "\n".join([where, "", *rows, *([""] if notes else []), *notes, ""])


def _sections(text: str) -> Iterator[tuple[str, str]]:
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, content = section.partition("\n")
        yield title.strip(), content.strip() + "\n"


def _cells(line: Line) -> tuple[str, ...]:
    figure = line.figure
    return (
        figure.name,
        _number(figure.value),
        figure.unit,
        "" if line.ratio is None else f"{line.ratio:.2f} of {figure.ratio_to}",
        "" if figure.goal is None else _goal(figure.goal, figure.ratio_to),
        {None: "", True: "yes", False: "NO"}[line.met],
    )


def _goal(goal: Goal, ratio_to: str | None) -> str:
    limit = f"{goal.limit:g}" if ratio_to is not None else _number(goal.limit)
    return f"{goal.bound.replace('_', ' ')} {limit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
