"""A log in memory: the records of every partition, as a reader would get them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from contracts import codec
from contracts.clocks import CLOCK_ADVANCED, ClockAdvanced
from contracts.cloudevent import CloudEvent
from contracts.events import (
    CUSTOM_EVENT,
    EVENT_WITHDRAWN,
    PROFILE_CHANGED,
    CustomEvent,
    EventData,
    EventWithdrawn,
    ProfileChanged,
)
from contracts.identifiers import derived_id
from contracts.internal_events import InternalEvent
from contracts.merges import CUSTOMER_MERGED, CustomerMerged
from contracts.partitioner import partition_of
from contracts.places import Position
from contracts.requests import (
    ADJUST_REQUESTED,
    JOIN_REQUESTED,
    AdjustRequested,
    JoinRequested,
    request_id,
)
from contracts.topics import CUSTOMER_EVENTS
from services.runtime.kafka.consumer import Incoming

WORKSPACE = "demo"
PARTITIONS = 3
START = datetime(2026, 11, 21, 9, tzinfo=UTC)
"""Append time of a log's first record."""


def customer_number(number: int) -> str:
    return f"cust_{number:032x}"


class Log:
    """Partitions to append to; append times grow by a step of the caller's."""

    def __init__(self) -> None:
        self.partitions: dict[int, list[Incoming]] = {each: [] for each in range(PARTITIONS)}
        self.now = START
        self._count = 0

    def tell(
        self,
        customer: str,
        told: EventData,
        *,
        revision: int = 0,
        after_ms: int = 1,
        workspace: str = WORKSPACE,
        idempotency_key: str | None = None,
    ) -> Incoming:
        """Append what gateway and api would, accepted at the moment of the append."""
        self.now += timedelta(milliseconds=after_ms)
        self._count += 1
        occurred_at = told.occurred_at if isinstance(told, CustomEvent) else None
        record = CloudEvent(
            id=derived_id("record_", str(self._count))
            if idempotency_key is None
            else request_id(workspace, idempotency_key),
            source="gateway",
            type=_type_of(told),
            subject=customer,
            time=occurred_at or self.now,
            workspace=workspace,
            recordedtime=self.now,
            definitionsrevision=revision,
            data=codec.raw(told),
        )
        return self.append(customer.encode(), codec.encode(record))

    def show(self, at: datetime) -> None:
        """Append to every partition that the workspace's test clock shows an instant."""
        record = CloudEvent(
            id=derived_id("clock_", at.isoformat()),
            source="api",
            type=CLOCK_ADVANCED,
            subject="clock",
            time=at,
            workspace=WORKSPACE,
            recordedtime=at,
            definitionsrevision=0,
            data=codec.raw(ClockAdvanced(to=at)),
        )
        for partition in self.partitions:
            self.append(b"clock", codec.encode(record), partition=partition)

    def merge(self, merged: str, survivor: str, *, closed_at: Incoming | None = None) -> Incoming:
        """Append one of the two records of a merge; ``closed_at`` is the other one."""
        self.now += timedelta(milliseconds=1)
        told = CustomerMerged(
            merged=merged,
            survivor=survivor,
            closed_at=None
            if closed_at is None
            else str(Position(CUSTOMER_EVENTS, closed_at.partition, closed_at.offset)),
        )
        subject = merged if closed_at is None else survivor
        record = CloudEvent(
            id=derived_id("merge_", merged, survivor, subject),
            source="api",
            type=CUSTOMER_MERGED,
            subject=subject,
            time=self.now,
            workspace=WORKSPACE,
            recordedtime=self.now,
            definitionsrevision=0,
            data=codec.raw(told),
        )
        return self.append(subject.encode(), codec.encode(record))

    def append(self, key: bytes, value: bytes, *, partition: int | None = None) -> Incoming:
        """Append bytes as they are."""
        target = partition_of(key, PARTITIONS) if partition is None else partition
        records = self.partitions[target]
        appended_at_ms = round(self.now.timestamp() * 1000)
        incoming = Incoming(target, len(records), appended_at_ms, key, value)
        records.append(incoming)
        return incoming


def _type_of(told: EventData) -> str:
    match told:
        case CustomEvent():
            return CUSTOM_EVENT
        case ProfileChanged():
            return PROFILE_CHANGED
        case EventWithdrawn():
            return EVENT_WITHDRAWN
        case AdjustRequested():
            return ADJUST_REQUESTED
        case JoinRequested():
            return JOIN_REQUESTED
        case InternalEvent():
            return "customer.updated"
