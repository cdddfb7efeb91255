"""What the tests of commands ask for."""

from __future__ import annotations

import os

import pytest

from tests.unit.operations.front_door import CommandLine


@pytest.fixture
def upshot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """A command line with none of the environment's settings."""
    for name in list(os.environ):
        if name.startswith("UPSHOT_"):
            monkeypatch.delenv(name)
    return CommandLine(monkeypatch, capsys)
