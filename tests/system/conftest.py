"""One running system for all tests of this folder; each uses customers and names of its own."""

from __future__ import annotations

import uuid
from collections.abc import Generator

import pytest

from tests.support.servers import session_folder
from tests.support.talking import Talk
from tests.support.upshot import Upshot, running_upshot


@pytest.fixture(scope="package")
def upshot() -> Generator[Upshot]:
    """Give a running system with the sample definitions."""
    with session_folder() as folder, running_upshot(folder / "data") as started:
        yield started


@pytest.fixture
def talk(upshot: Upshot) -> Talk:
    """Give a client of it."""
    return Talk(upshot)


@pytest.fixture
def name() -> str:
    """Give a name that nothing else has."""
    return f"t{uuid.uuid4().hex[:12]}"
