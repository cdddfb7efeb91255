"""Functions and modules stay small enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tidy.source import modules, name_of, parsed

MODULE_LINES_MAX = 400
UNDOCUMENTED_FUNCTION_LINES_MAX = 50
ORDINARY_FUNCTION_LINES = 25
ORDINARY_SHARE = 0.9
NO_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
NO_SUFFIXES = ("_utils", "_helpers", "_common", "_misc", "_base")


class Function(NamedTuple):
    """A function as it stands in a module."""

    place: str
    lines: int
    has_docstring: bool


def functions() -> Iterator[Function]:
    for module in modules():
        for node in ast.walk(parsed(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Function(
                    f"{name_of(module)}:{node.lineno} {node.name}",
                    _own_lines(node),
                    ast.get_docstring(node) is not None,
                )


def test_a_long_function_explains_itself() -> None:
    silent = [
        f"{function.place}: {function.lines} lines without a docstring"
        for function in functions()
        if function.lines > UNDOCUMENTED_FUNCTION_LINES_MAX and not function.has_docstring
    ]

    assert silent == []


def test_nine_functions_in_ten_are_short() -> None:
    found = list(functions())
    short = sum(function.lines < ORDINARY_FUNCTION_LINES for function in found)

    assert short / len(found) >= ORDINARY_SHARE


@pytest.mark.parametrize("module", modules(), ids=name_of)
def test_a_module_fits_in_a_head(module: Path) -> None:
    lines = len(module.read_text().splitlines())

    assert lines <= MODULE_LINES_MAX


def test_modules_are_named_for_what_they_hold() -> None:
    vague = [
        name_of(module)
        for module in modules()
        if module.stem in NO_NAMES
        or module.parent.name in NO_NAMES
        or module.stem.endswith(NO_SUFFIXES)
    ]

    assert vague == []


def test_every_module_says_what_it_guarantees() -> None:
    silent = [
        name_of(module)
        for module in modules()
        if module.read_text().strip() and ast.get_docstring(parsed(module)) is None
    ]

    assert silent == []


def _own_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body or node.end_lineno is None:
        return 1
    return node.end_lineno - body[0].lineno + 1
