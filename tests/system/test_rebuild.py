"""`upshot rebuild` and `upshot compare` as an operator runs them, while traffic goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import eventually_sync
from tests.support.shops import Town
from tests.support.upshot import Upshot

COMMAND_SECONDS = 200
EVENTS_BEFORE = 200
SHOPS = 2

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("projection", ["loyalty", "customers", "dispatcher"])
def test_a_rebuild_under_traffic_equals_live(upshot: Upshot, projection: str) -> None:
    with Town(upshot, shops=SHOPS, seed=len(projection)) as town:
        eventually_sync(lambda: town.accepted > EVENTS_BEFORE, COMMAND_SECONDS)
        rebuilt = _upshot(upshot, "rebuild", projection)
        compared = _upshot(upshot, "compare", projection)
        dropped = _upshot(upshot, "drop", projection)

    assert rebuilt.returncode == 0, rebuilt.stderr
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "Equal after" in compared.stdout
    assert dropped.returncode == 0, dropped.stderr


def test_verify_finds_a_ledger_that_balances(upshot: Upshot) -> None:
    verified = _upshot(upshot, "verify")

    assert verified.returncode == 0, verified.stdout + verified.stderr


def _upshot(upshot: Upshot, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("upshot")
    return subprocess.run(
        [str(program), *arguments, "--url", upshot.url, "--key", upshot.admin_key],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
