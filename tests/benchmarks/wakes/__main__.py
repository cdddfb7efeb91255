"""``python -m tests.benchmarks.wakes``: the wakes as a processor, hosted as every other."""

from projections.kernel.worker import Alone, run
from tests.benchmarks.wakes.projection import Wakes

run(lambda _: Alone(Wakes()))
