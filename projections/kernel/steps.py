"""Making steps of records: what a model gets to see of each.

Guarantee: what is the kernel's own, or an outcome of the projection itself, is no step.
"""

from typing import Generic, TypeVar

from contracts.clocks import ClockAdvanced
from contracts.definitions.catalogue import Snapshot
from contracts.internal_events import CHAIN_DEPTH_MAX
from contracts.merges import CustomerMerged
from projections.kernel.errors import CHAIN_TOO_DEEP, InvalidRecordError
from projections.kernel.facts import FactsOfBatch
from projections.kernel.projection import Definitions, Feeding, Step
from projections.kernel.records import Decoded

W = TypeVar("W")


class Steps(Generic[W]):
    """Makes the steps of one partition."""

    def __init__(
        self, partition: int, definitions: Definitions, feeding: Feeding[W] | None
    ) -> None:
        self._partition = partition
        self._definitions = definitions
        self._feeding = feeding
        self._last_snapshot = definitions.catalogue.at("", 0)

    def of(self, decoded: Decoded, facts: FactsOfBatch) -> Step | None:
        """Make a record's step; None of one that is the kernel's own, or our own outcome."""
        if isinstance(decoded.data, (ClockAdvanced, CustomerMerged)):
            return None
        if self._feeding is not None and decoded.record.type in self._feeding.kinds:
            return None
        record, revision = decoded.record, decoded.revision
        if isinstance(record.chaindepth, int) and record.chaindepth > CHAIN_DEPTH_MAX:
            raise InvalidRecordError(CHAIN_TOO_DEEP, f"{record.chaindepth} links")
        change = facts.change(decoded)
        snapshot = self._last_snapshot
        if snapshot.revision != revision or snapshot.workspace != record.workspace:
            snapshot = self._snapshot(record.workspace, revision)
        judged = snapshot
        if change is not None and change.stored is not None and change.stored.revision != revision:
            judged = self._definitions.catalogue.at(record.workspace, change.stored.revision)
        return Step(
            partition=self._partition,
            offset=decoded.offset,
            at=decoded.at,
            time=decoded.time,
            record=record,
            data=decoded.data,
            snapshot=snapshot,
            change=change,
            judged=judged,
        )

    def _snapshot(self, workspace: str, revision: int) -> Snapshot:
        self._last_snapshot = self._definitions.catalogue.at(workspace, revision)
        return self._last_snapshot
