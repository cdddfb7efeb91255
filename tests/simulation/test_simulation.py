"""The kernel keeps its promises whatever goes wrong: a short run of the simulation.

``make simulate SEEDS=1..10000`` runs more of it, ``make simulate SEED=7`` one seed step by step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from tests.simulation.ground import Ground, new_ground
from tests.simulation.run import Simulation

pytestmark = pytest.mark.timeout(180)
SEEDS = range(1, 46)
SEEDS_TWICE = (3, 17)


@pytest.fixture
def ground(database: str) -> Generator[Ground]:
    made = asyncio.run(new_ground(database))
    yield made
    made.database.close()


def test_every_seed_ends_as_an_undisturbed_fold_of_its_log_would(ground: Ground) -> None:
    failures = [
        f"make simulate SEED={seed}: {failure}"
        for seed in SEEDS
        if (failure := Simulation(ground, seed).run().failure)
    ]

    assert failures == []


def test_a_seed_gives_the_same_run_again(ground: Ground) -> None:
    for seed in SEEDS_TWICE:
        once = Simulation(ground, seed).run()
        again = Simulation(ground, seed).run()

        assert again.trace == once.trace
