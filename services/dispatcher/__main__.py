"""``python -m services.dispatcher``: the dispatcher's processor, its sender beside it."""

from projections.kernel.worker import run
from services.dispatcher.workload import Dispatching

run(Dispatching)
