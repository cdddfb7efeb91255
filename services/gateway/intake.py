"""From the texts of events to what stands in the log, for one event and for batches alike.

Guarantee: events are independent, one that is refused refuses no other; those of one customer are
appended in the order in which they were given; an outcome has a position only once Kafka
acknowledged it.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct, structs

from contracts.definitions.catalogue import Snapshot
from contracts.errors import Fault
from contracts.identifiers import EventId, WorkspaceName
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from services.gateway.admission import Admitted, admit
from services.gateway.append import Appender, Offsets
from services.gateway.bounds import CUSTOMER_KEPT_BYTES_MAX, CUSTOMERS_KEPT_MAX, YIELD_EVERY_EVENTS
from services.gateway.errors import INVALID_EVENT, RefusedEventError, UnknownCustomerError
from services.gateway.faults import event_faults
from services.gateway.identity import Customers, Recent, Resolution
from services.gateway.people import Known, Person, know, read_person
from services.gateway.records import Stamp, event_record, name_event
from services.runtime.kafka.producer import Outgoing
from services.runtime.problems import ProblemError


class Accepted(Struct, frozen=True, kw_only=True, gc=False):
    """An event that stands in the log."""

    event: EventId
    admitted: Admitted
    known: Known
    partition: int
    offset: int

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(CUSTOMER_EVENTS, self.partition, self.offset)


class _Ready(Struct, frozen=True, gc=False):
    """An event with its customer, on its way to the log."""

    index: int
    event: EventId
    admitted: Admitted
    known: Known


class _Unresolved(Struct, frozen=True, gc=False):
    index: int
    admitted: Admitted
    person: Person


Outcome = Accepted | Exception
"""An event's outcome, or why it was refused: an error that ``errors.problem_of`` knows."""

_Slot = _Ready | _Unresolved | Exception


class Intake:
    """Takes events in."""

    def __init__(self, customers: Customers, appender: Appender) -> None:
        self._customers: Final = customers
        self._appender: Final = appender
        self._spelled: Recent[tuple[WorkspaceName, bytes], Known] = Recent(CUSTOMERS_KEPT_MAX)

    async def take(
        self,
        texts: Sequence[bytes],
        definitions: Snapshot,
        stamp: Stamp,
        idempotency_key: str | None = None,
    ) -> list[Outcome]:
        """Take events in; answers the outcome of each, in order.

        Args:
            texts: JSON of the native form, one an event.
            definitions: what they are judged by.
            stamp: of their records.
            idempotency_key: the producer's id of the event, where it came as a header.
        """
        now = time.monotonic()
        slots: list[_Slot] = []
        for index, text in enumerate(texts):
            slots.append(self._judge(index, text, definitions, stamp, idempotency_key, now))
            if index % YIELD_EVERY_EVENTS == YIELD_EVERY_EVENTS - 1:
                await asyncio.sleep(0)
        unresolved = [slot for slot in slots if isinstance(slot, _Unresolved)]
        if unresolved:
            await self._resolve(unresolved, slots, definitions, stamp)
        return await self._append(slots, stamp)

    def judge(
        self,
        text: bytes,
        definitions: Snapshot,
        stamp: Stamp,
        idempotency_key: str | None,
    ) -> tuple[Admitted, Person]:
        """Judge one event without taking it; raises as ``admit`` and ``read_person`` do."""
        admitted = _admit(text, definitions, stamp, idempotency_key)
        return admitted, _person(text, admitted, definitions, stamp)

    def _judge(
        self,
        index: int,
        text: bytes,
        definitions: Snapshot,
        stamp: Stamp,
        idempotency_key: str | None,
        now: float,
    ) -> _Slot:
        try:
            admitted = _admit(text, definitions, stamp, idempotency_key)
            known = self._spelled.get((stamp.workspace, admitted.customer))
            if (
                known is None
                or known.personal_keys != definitions.workspace_settings.customer_pii
                or known.resolution.identity is None
                or not known.resolution.identity.is_current(now)
            ):
                person = _person(text, admitted, definitions, stamp)
                resolution = self._customers.known(stamp.workspace, person.claim)
                if resolution is None:
                    return _Unresolved(index, admitted, person)
                known = self._know(person, resolution, admitted, definitions, stamp)
            return _Ready(index, name_event(stamp.workspace, admitted), admitted, known)
        except (RefusedEventError, ProblemError) as error:
            return error

    def _know(
        self,
        person: Person,
        resolution: Resolution,
        admitted: Admitted,
        definitions: Snapshot,
        stamp: Stamp,
    ) -> Known:
        if resolution.identity is None:
            raise UnknownCustomerError("/customer/id")
        personal_keys = definitions.workspace_settings.customer_pii
        known = know(person, resolution, personal_keys=personal_keys)
        if len(admitted.customer) <= CUSTOMER_KEPT_BYTES_MAX:
            self._spelled.put((stamp.workspace, admitted.customer), known)
        return known

    async def _resolve(
        self,
        unresolved: list[_Unresolved],
        slots: list[_Slot],
        definitions: Snapshot,
        stamp: Stamp,
    ) -> None:
        """Find the customers of these slots, and put what becomes of each into its place."""
        claims = [each.person.claim for each in unresolved]
        try:
            resolutions = await self._customers.resolve(stamp.workspace, claims)
        except Exception as error:  # noqa: BLE001 - known customers get in meanwhile
            for each in unresolved:
                slots[each.index] = error
            return
        for each, resolution in zip(unresolved, resolutions, strict=True):
            try:
                known = self._know(each.person, resolution, each.admitted, definitions, stamp)
            except UnknownCustomerError as error:
                slots[each.index] = error
                continue
            event = name_event(stamp.workspace, each.admitted)
            slots[each.index] = _Ready(each.index, event, each.admitted, known)

    async def _append(self, slots: list[_Slot], stamp: Stamp) -> list[Outcome]:
        outcomes: list[Outcome] = []
        by_partition: dict[int, tuple[list[_Ready], list[Outgoing]]] = {}
        for slot in slots:
            assert not isinstance(slot, _Unresolved), "every slot was resolved"
            if not isinstance(slot, _Ready):
                outcomes.append(slot)
                continue
            identity = slot.known.resolution.identity
            assert identity is not None, "a customer that is known has an identity"
            value = event_record(slot.admitted, slot.event, identity, slot.known.profile, stamp)
            ready, records = by_partition.setdefault(identity.partition, ([], []))
            ready.append(slot)
            records.append(Outgoing(identity.key, value))
            outcomes.append(_PENDING)
        appends = {
            partition: self._hand_over(partition, records)
            for partition, (_, records) in by_partition.items()
        }
        for partition, (ready, _) in by_partition.items():
            for slot, outcome in zip(
                ready, await _outcomes(partition, ready, appends[partition]), strict=True
            ):
                outcomes[slot.index] = outcome
        return outcomes

    def _hand_over(
        self, partition: int, records: list[Outgoing]
    ) -> "asyncio.Future[Offsets] | Exception":
        try:
            return self._appender.append(partition, records)
        except Exception as error:  # noqa: BLE001 - other partitions may have room
            return error


_PENDING: Final = RuntimeError("the outcome of every event is set before it is answered")


async def _outcomes(
    partition: int, ready: list[_Ready], append: "asyncio.Future[Offsets] | Exception"
) -> Iterable[Outcome]:
    if isinstance(append, Exception):
        return [append] * len(ready)
    try:
        offsets = await append
    except Exception as error:  # noqa: BLE001 - other partitions may have been acknowledged
        return [error] * len(ready)
    return [
        Accepted(
            event=slot.event,
            admitted=slot.admitted,
            known=slot.known,
            partition=partition,
            offset=offset,
        )
        for slot, offset in zip(ready, offsets, strict=True)
    ]


def _admit(
    text: bytes, definitions: Snapshot, stamp: Stamp, idempotency_key: str | None
) -> Admitted:
    admitted = admit(text, definitions, stamp.accepted_at)
    if idempotency_key is None:
        return admitted
    if admitted.body.id and admitted.body.id != idempotency_key:
        detail = "differs from the header Idempotency-Key"
        fault = Fault(pointer="/id", code="conflict", detail=detail)
        raise RefusedEventError(INVALID_EVENT, (fault,))
    body = structs.replace(admitted.body, id=idempotency_key)
    return structs.replace(admitted, body=body)


def _person(text: bytes, admitted: Admitted, definitions: Snapshot, stamp: Stamp) -> Person:
    """Read an event's customer; a refusal lists the faults of the whole event."""
    try:
        return read_person(admitted.customer, definitions.workspace_settings.customer_pii)
    except RefusedEventError as error:
        faults: tuple[Fault, ...] = event_faults(text, stamp.accepted_at) or error.faults
        raise RefusedEventError(INVALID_EVENT, faults) from error
