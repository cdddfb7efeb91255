"""``python -m tests.simulation 1..200``: run seeds; one seed alone is shown step by step."""

from __future__ import annotations

import asyncio
import sys
import time

from services.runtime.postgres import migrate_control
from tests.simulation.ground import new_ground
from tests.simulation.run import Simulation
from tests.support.servers import fresh_database, running_postgres

SEEDS_BETWEEN_LINES = 100
SHOWN_MAX = 20
"""Failures told in full."""


def main() -> int:
    """Run the seeds of the command line; answers how many failed, at most 1."""
    first, _, last = sys.argv[1].partition("..")
    seeds = range(int(first), int(last or first) + 1)
    failed = 0
    with running_postgres() as maintenance, fresh_database(maintenance) as conninfo:
        asyncio.run(migrate_control(conninfo))
        ground = asyncio.run(new_ground(conninfo))
        began = time.monotonic()
        for seed in seeds:
            outcome = Simulation(ground, seed).run()
            if len(seeds) == 1:
                sys.stdout.write("\n".join(outcome.trace) + "\n")
            if outcome.failure:
                failed += 1
                if failed > SHOWN_MAX:
                    continue
                sys.stdout.write(f"FAILED {seed} ({outcome.subject}): {outcome.failure}\n")
            if seed % SEEDS_BETWEEN_LINES == 0 or seed == seeds[-1]:
                took = (time.monotonic() - began) / (seed - seeds[0] + 1)
                sys.stdout.write(
                    f"seed {seed}: {outcome.turns} turns, {outcome.records} records, "
                    f"{outcome.faults} faults; {took:.3f} s a seed, {failed} failed\n"
                )
            sys.stdout.flush()
        ground.database.close()
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
