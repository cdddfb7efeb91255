"""Whatever is killed under load: nothing accepted is lost, nothing has its effect twice."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from contracts.places import parse_position
from tests.support.chaos import READY_SECONDS, Inside, loyalty_companion
from tests.support.eventually import eventually_sync
from tests.support.shops import Town, sell
from tests.support.upshot import Upshot
from tests.support.verdict import assert_nothing_is_lost_or_doubled

VICTIMS = ("gateway", "api", "customers", "loyalty", "dispatcher", "kafka", "postgres")
SHOPS = 4
EVENTS_BETWEEN = 100  # accepted between one kill and the next
ROUNDS_LONG = 5
TAKEOVER_SECONDS = 8.0


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_when_each_process_is_killed(upshot: Upshot) -> None:
    _kill_each(upshot, random.SystemRandom().randrange(10**6))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_doubled_by_round_after_round_of_kills(upshot: Upshot) -> None:
    for _ in range(ROUNDS_LONG):
        _kill_each(upshot, random.SystemRandom().randrange(10**6))


def _kill_each(upshot: Upshot, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    order = random.Random(seed)
    inside = Inside(upshot)
    with Town(upshot, shops=SHOPS, seed=seed) as town:
        _is_served(town, EVENTS_BETWEEN)
        for victim in order.sample(VICTIMS, len(VICTIMS)):
            _kill(upshot, victim)
            _is_served(town, EVENTS_BETWEEN)
    inside.wait_until_settled()
    assert_nothing_is_lost_or_doubled(inside, town.facts)


def _kill(upshot: Upshot, victim: str) -> None:
    """Kill a process and return when another has its place."""
    pid = eventually_sync(lambda: upshot.child_pids().get(victim), READY_SECONDS)
    os.kill(pid, signal.SIGKILL)
    eventually_sync(lambda: upshot.child_pids().get(victim, pid) != pid, READY_SECONDS)


def _is_served(town: Town, count: int) -> None:
    """Return when so many more events were accepted."""
    goal = town.accepted + count
    eventually_sync(lambda: town.accepted >= goal, READY_SECONDS)


@pytest.mark.timeout(300)
def test_the_partitions_of_a_killed_processor_are_taken_over_within_eight_seconds(
    upshot: Upshot,
) -> None:
    inside = Inside(upshot)
    with loyalty_companion(upshot) as second:
        owned = eventually_sync(second.partitions, READY_SECONDS)
        eventually_sync(second.is_ready, READY_SECONDS)
        shoppers = {parse_position(sell(upshot, f"shopper-{n}")).partition: n for n in range(40)}

        second.kill()
        killed_at = time.monotonic()
        sold = [
            parse_position(sell(upshot, f"shopper-{n}"))
            for partition, n in shoppers.items()
            if partition in owned
        ]
        assert sold, "some of the shoppers were the second process's"
        eventually_sync(
            lambda: all(inside.has_applied("loyalty", position) for position in sold),
            TAKEOVER_SECONDS - (time.monotonic() - killed_at),
        )
