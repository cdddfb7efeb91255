"""``python -m projections.loyalty``: the loyalty processor."""

from projections.kernel.worker import Alone, run
from projections.loyalty.projection import Loyalty

run(lambda _: Alone(Loyalty()))
