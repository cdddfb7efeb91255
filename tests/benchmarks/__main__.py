"""`python -m tests.benchmarks [NAME...] [--write]`: measure, print, and write BENCHMARKS.md."""

import argparse
import asyncio
import importlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from rich.console import Console

from tests.benchmarks.support import report
from tests.benchmarks.support.figures import Figure, judged
from tests.benchmarks.support.processes import ChildFailedError
from tests.benchmarks.support.servers import Stack, opened

BENCHMARKS = {
    "load": "tests.benchmarks.peers.trivial",
    "bare": "tests.benchmarks.peers.bare",
    "streams": "tests.benchmarks.peers.kafka_streams",
    "faust": "tests.benchmarks.peers.faust",
    "kernel": "tests.benchmarks.kernel",
    "gateway": "tests.benchmarks.gateway",
    "loyalty": "tests.benchmarks.loyalty",
    "timers": "tests.benchmarks.timers",
    "promotion": "tests.benchmarks.promotion",
    "commands": "tests.benchmarks.commands",
    "pipeline": "tests.benchmarks.pipeline",
}
LONG = {"growth": "tests.benchmarks.growth"}
"""Takes many minutes: measured only when named."""
FILE = Path(__file__).parents[2] / "BENCHMARKS.md"


class Measure(Protocol):
    """What every benchmark's module offers under the name `measure`."""

    async def __call__(self, stack: Stack) -> list[Figure]: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, all but the long ones when none is; 1 when a goal is missed."""
    offered = {**BENCHMARKS, **LONG}
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(offered))
    parser.add_argument("--write", action="store_true", help="put the figures into BENCHMARKS.md")
    options = parser.parse_args(arguments)
    names: list[str] = options.names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(offered))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(offered)}")
    with opened() as stack:
        met = [_run(name, stack, write=options.write) for name in names]
    return 0 if all(met) else 1


def _run(name: str, stack: Stack, *, write: bool) -> bool:
    measure: Measure = importlib.import_module({**BENCHMARKS, **LONG}[name]).measure
    console = Console()
    try:
        with console.status(f"measuring {name}"):
            figures = asyncio.run(measure(stack))
    except ChildFailedError as error:
        console.print(f"{name} could not be measured: {error}", style="red", markup=False)
        return False
    report.shown(name, figures, console)
    if write:
        report.written(FILE, name, figures, datetime.now(UTC))
    return all(line.met is not False for line in judged(figures))


if __name__ == "__main__":
    raise SystemExit(main())
