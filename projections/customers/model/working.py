"""A partition's working set: customers read of late, and what a batch changed.

Guarantee: memory is bounded; only customers outlast a batch, the least recently used go first.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from contracts.codec import JsonObject
from contracts.events import SealedProfile
from contracts.identifiers import FactKey
from projections.customers.model.owners import Claim
from projections.customers.model.rows import (
    CustomerKey,
    CustomerRow,
    EventRow,
    FactPlace,
    TimelineEntry,
)

CUSTOMERS_MAX: Final = 5_000
"""Customers kept for the next batch, of one partition: about 5 MB with small profiles."""

Blob = tuple[str, str]
"""Customer id and sealed text."""


class WorkingSet:
    """Rows in memory, and what changed in the order of the log.

    ``profiles`` and ``properties`` hold opened seals, None where one does not open; a blob whose
    key is gone is in neither. ``digests`` are of the profiles told, by offset.
    """

    def __init__(self) -> None:
        self.customers: OrderedDict[CustomerKey, CustomerRow] = OrderedDict()
        self.stored_customers: set[CustomerKey] = set()
        self._start()

    def _start(self) -> None:
        self.changed_customers: dict[CustomerKey, None] = {}
        self.digests: dict[int, bytes] = {}
        self.profiles: Mapping[Blob, SealedProfile | None] = {}
        self.properties: Mapping[Blob, JsonObject | None] = {}
        self.events: dict[FactPlace, EventRow] = {}
        self.stored_events: set[FactPlace] = set()
        self.changed_events: dict[FactPlace, None] = {}
        self.outcomes: dict[FactPlace, str] = {}
        self.entries: list[TimelineEntry] = []
        self.claims: dict[tuple[str, FactKey], list[Claim]] = {}

    def end_batch(self) -> None:
        """Keep what may be met again, within the bound."""
        self.stored_customers.update(self.changed_customers)
        while len(self.customers) > CUSTOMERS_MAX:
            gone, _ = self.customers.popitem(last=False)
            self.stored_customers.discard(gone)
        self._start()
