"""``python -m tests.benchmarks.sums``: the sums as a processor, hosted as every other."""

from projections.kernel.worker import Alone, run
from tests.benchmarks.sums.projection import SumsProjection

run(lambda _: Alone(SumsProjection()))
