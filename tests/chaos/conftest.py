"""One running system for all tests of this folder that leave it whole."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support.servers import session_folder
from tests.support.upshot import Upshot, running_upshot


@pytest.fixture(scope="package")
def upshot() -> Generator[Upshot]:
    """Give a running system; whoever kills something of it waits until it is replaced."""
    with session_folder() as folder, running_upshot(folder / "data") as started:
        yield started
