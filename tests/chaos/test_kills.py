"""Whatever is killed under load: nothing accepted is lost, nothing has its effect twice."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.chaos import READY_SECONDS, Inside
from tests.support.eventually import eventually_sync
from tests.support.servers import session_folder
from tests.support.shops import Town
from tests.support.upshot import Upshot, running_upshot
from tests.support.verdict import assert_nothing_is_lost_or_doubled

VICTIMS = ("gateway", "api", "customers", "loyalty", "dispatcher", "kafka", "postgres")
SHOPS = 4
EVENTS_BETWEEN = 100  # accepted between one kill and the next
ROUNDS_LONG = 4


@pytest.fixture
def data_dir() -> Generator[Path]:
    with session_folder() as folder:
        yield folder / "data"


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_when_each_process_is_killed(data_dir: Path) -> None:
    _kill_each(data_dir, seed=random.SystemRandom().randrange(10**6), rounds=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_doubled_by_many_rounds_of_kills(data_dir: Path) -> None:
    _kill_each(data_dir, seed=random.SystemRandom().randrange(10**6), rounds=ROUNDS_LONG)


def _kill_each(data_dir: Path, *, seed: int, rounds: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    order = random.Random(seed)
    with running_upshot(data_dir) as upshot:
        inside = Inside(upshot)
        for _ in range(rounds):
            with Town(upshot, shops=SHOPS, seed=order.randrange(10**6)) as town:
                _is_served(town, EVENTS_BETWEEN)
                for victim in order.sample(VICTIMS, len(VICTIMS)):
                    _kill(upshot, victim)
                    _is_served(town, EVENTS_BETWEEN)
            inside.wait_until_settled()
            assert_nothing_is_lost_or_doubled(inside, town)


def _kill(upshot: Upshot, victim: str) -> None:
    """Kill a process and return when another has its place."""
    pid = eventually_sync(lambda: upshot.child_pids().get(victim), READY_SECONDS)
    os.kill(pid, signal.SIGKILL)
    eventually_sync(lambda: upshot.child_pids().get(victim, pid) != pid, READY_SECONDS)


def _is_served(town: Town, count: int) -> None:
    """Return when so many more events were accepted."""
    goal = town.accepted + count
    eventually_sync(lambda: town.accepted >= goal, READY_SECONDS)
