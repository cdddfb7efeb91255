"""``python -m projections.customers``: the customers processor."""

from projections.customers.projection import Customers
from projections.kernel.worker import Alone, run
from services.runtime.sealing import MasterKey

run(
    lambda settings: Alone(Customers(MasterKey.parse(settings.master_key.get_secret_value()))),
)
