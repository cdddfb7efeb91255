"""The project's own files, as the tidy tests see them."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "projections", "services", "tests")


@cache
def tracked_files() -> tuple[Path, ...]:
    """Return every file that is committed or could be: what is ignored is not ours."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(sorted(path for path in set(paths) if path.is_file()))


def modules() -> list[Path]:
    """Return the Python modules of the project."""
    return [
        path
        for path in tracked_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES
    ]


@cache
def parsed(module: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(module.read_text())


def name_of(path: Path) -> str:
    """Return a path as the repository names it."""
    return str(path.relative_to(ROOT))
