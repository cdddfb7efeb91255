"""The tree speaks of the project alone: no registry, no machine, nothing unfinished."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.source import ROOT, modules, name_of, parsed, tracked_files

REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("crates", "io"),
        ("ghcr", "io"),
        ("docker", "io"),
    )
)
UNFINISHED = re.compile(
    r"\b(?:"
    + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"))
    + r")\b"
)
PLACES = re.compile(
    r"(?<![\w./])/(?:" + "|".join(("roo" + "t", "wor" + "k", "hom" + "e")) + r")/\w"
)
LAWFUL_PLACES = ("LICENSE",)


def _texts() -> list[tuple[str, str]]:
    return [(name_of(path), text) for path in tracked_files() if (text := _text(path)) is not None]


def test_no_file_names_a_package_registry() -> None:
    named = [
        f"{name}: {registry}"
        for name, text in _texts()
        for registry in REGISTRIES
        if registry in text
    ]

    assert named == []


def test_no_file_names_a_folder_of_some_machine() -> None:
    named = [
        f"{name}: {found.group()}"
        for name, text in _texts()
        if name not in LAWFUL_PLACES
        for found in PLACES.finditer(text)
    ]

    assert named == []


def test_nothing_is_left_unfinished() -> None:
    left = [
        f"{name_of(module)}: {found.group()}"
        for module in modules()
        for found in UNFINISHED.finditer(module.read_text())
    ]

    assert left == []


def test_the_lock_names_files_and_hashes_only() -> None:
    lock = (ROOT / "uv.lock").read_text()

    hosts = set(re.findall(r'https?://([^/"]+)', lock))

    assert hosts == {"registry.invalid"}
    assert 'hash = "sha256:' in lock


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def test_no_test_is_skipped() -> None:
    skipping = re.compile(r"pytest\.(?:skip|mark\.skip|importorskip)")

    found = [
        f"{name_of(module)}: {match.group()}"
        for module in modules()
        if "tidy" not in module.parts
        for match in skipping.finditer(module.read_text())
    ]

    assert found == []


def test_no_test_waits_by_sleeping() -> None:
    found = [
        f"{name_of(module)}:{call.lineno}"
        for module in modules()
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_")
        for call in _own_calls(node)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "sleep"
    ]

    assert found == []


def _own_calls(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """Yield the calls of a function without those of functions defined in it (a slow server's)."""
    open_nodes: list[ast.AST] = list(function.body)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.Call):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            open_nodes.extend(ast.iter_child_nodes(node))
