"""From what producers say to what stands in the log, for one event and for batches alike.

Guarantee: events are independent, one that is refused refuses no other; those of one customer are
appended in the order in which they were given; an outcome has a position only once Kafka
acknowledged it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, structs

from contracts.definitions.catalogue import Snapshot
from contracts.errors import Fault
from contracts.identifiers import EventId, WorkspaceName
from contracts.topics import CUSTOMER_EVENTS
from services.gateway.admission import Admitted, UnfitError, admit, judge, refusal
from services.gateway.batches import Batch, one
from services.gateway.bounds import (
    BATCH_FAULTS_MAX,
    BATCH_WORK_SECONDS_MAX,
    CUSTOMER_KEPT_BYTES_MAX,
    CUSTOMERS_KEPT_MAX,
    IDENTITY_AGE_SECONDS_MAX,
    IDENTITY_FRESH_SECONDS,
)
from services.gateway.errors import INVALID_EVENT, RefusedEventError, UnknownCustomerError
from services.gateway.faults import event_faults
from services.gateway.identity import Customers, Identity, Recent, Resolution
from services.gateway.pacing import Pace
from services.gateway.people import Known, Person, know, read_person
from services.gateway.records import Stamp, event_record
from services.runtime import problems
from services.runtime.kafka.appender import Appender, Offsets
from services.runtime.kafka.producer import Outgoing
from services.runtime.problems import ProblemError


class Ready(Struct, frozen=True, gc=False):
    """An event with its customer, on its way to the log or there."""

    admitted: Admitted
    event: EventId
    known: Known
    identity: Identity


class Accepted(Struct, frozen=True, gc=False):
    """An event that stands in the log."""

    ready: Ready
    partition: int
    offset: int

    @property
    def position(self) -> str:
        """Where it stands, spelled as ``contracts.places.Position``."""
        return f"{CUSTOMER_EVENTS}/{self.partition}/{self.offset}"


class _Unresolved(Struct, frozen=True, gc=False):
    """An event whose customer is still to be found."""

    index: int
    admitted: Admitted
    person: Person


Outcome = Accepted | Exception
"""An event that was accepted, or why not: an error that ``errors.problem_of`` knows."""

_Appending = tuple[list[int], list[Ready], list[Outgoing]]
"""Of one partition: the events' indices, the events, and their records."""


class Intake:
    """Takes events in."""

    def __init__(self, customers: Customers, appender: Appender) -> None:
        self._customers: Final = customers
        self._appender: Final = appender
        self._spelled: Recent[tuple[WorkspaceName, bytes], Known] = Recent(CUSTOMERS_KEPT_MAX)

    def forget(self) -> None:
        """Read every customer anew, since somebody's identifiers were taken away."""
        self._spelled = Recent(CUSTOMERS_KEPT_MAX)

    async def take(
        self, batch: Batch, definitions: Snapshot, stamp: Stamp, pace: Pace
    ) -> list[Outcome]:
        """Take events in; answers the outcome of each, in order.

        Args:
            batch: the events.
            definitions: what they are judged by.
            stamp: of their records.
            pace: of the request.
        """
        judged: list[Ready | _Unresolved | Exception] = []
        unresolved: list[_Unresolved] = []
        now = time.monotonic()
        faults_left = BATCH_FAULTS_MAX
        for index in range(len(batch.readings)):
            try:
                admitted = _admitted(batch, index, definitions, stamp)
                known = self._known(batch, index, admitted, definitions, stamp, now)
                if isinstance(known, Known):
                    event = stamp.event_id(admitted)
                    judged.append(Ready(admitted, event, known, known.identity))
                else:
                    unresolved.append(known)
                    judged.append(known)
            except RefusedEventError as error:
                error.keep_first(faults_left)
                faults_left -= len(error.faults)
                judged.append(error)
            except Exception as error:  # noqa: BLE001 - what fails at one event refuses no other
                judged.append(error)
            if pace.is_due():
                await pace.turn()
                if pace.worked_seconds > BATCH_WORK_SECONDS_MAX:
                    judged += [_TOO_MUCH_WORK] * (len(batch.readings) - len(judged))
                    break
        if unresolved:
            settled = await self._resolve(unresolved, definitions, stamp)
            for each in unresolved:
                judged[each.index] = settled[each.index]
            pace.resume()
        return await self._append(judged, stamp, pace)

    async def take_one(
        self, text: bytes, definitions: Snapshot, stamp: Stamp, idempotency_key: str | None
    ) -> Accepted:
        """Take one event in, as ``take`` does with many.

        Args:
            text: JSON of the native form.
            definitions: what it is judged by.
            stamp: of its record.
            idempotency_key: the producer's id of the event, where it came as a header.

        Raises:
            RefusedEventError: or another error that ``errors.problem_of`` knows.
        """
        admitted = admit(text, definitions, stamp.accepted_at)
        if idempotency_key is not None:
            admitted = _named(admitted, idempotency_key)
        known = self._known(one(text), 0, admitted, definitions, stamp, time.monotonic())
        if isinstance(known, _Unresolved):
            settled = (await self._resolve([known], definitions, stamp))[0]
            if isinstance(settled, Exception):
                raise settled
            ready = settled
        else:
            ready = _ready(admitted, known, stamp)
        identity = ready.identity
        record = event_record(admitted, ready.event, identity, ready.known.profile, stamp)
        offsets = await self._appender.append(identity.partition, (Outgoing(identity.key, record),))
        return Accepted(ready, identity.partition, offsets[0])

    def judge(
        self,
        text: bytes,
        definitions: Snapshot,
        stamp: Stamp,
        idempotency_key: str | None,
    ) -> tuple[Admitted, Person]:
        """Judge one event without taking it in; raises ``RefusedEventError``."""
        admitted = admit(text, definitions, stamp.accepted_at)
        if idempotency_key is not None:
            admitted = _named(admitted, idempotency_key)
        return admitted, _person(lambda: text, admitted, definitions, stamp)

    def _known(
        self,
        batch: Batch,
        index: int,
        admitted: Admitted,
        definitions: Snapshot,
        stamp: Stamp,
        now: float,
    ) -> Known | _Unresolved:
        """The customer of an event, as far as this process knows it.

        Most often a customer is spelled as it was the last time: then nothing of it is read.
        """
        spelled = bytes(admitted.body.customer)
        personal_keys = definitions.workspace_settings.customer_pii
        known = self._spelled.get((stamp.workspace, spelled))
        if known is not None and known.personal_keys == personal_keys:
            age = now - known.identity.read_at
            if age < IDENTITY_AGE_SECONDS_MAX:
                if age > IDENTITY_FRESH_SECONDS:
                    resolution = Resolution(known.identity, known.foreign)
                    self._customers.refresh(stamp.workspace, known.claim, resolution)
                return known
        person = _person(lambda: batch.text(index), admitted, definitions, stamp)
        resolution = self._customers.known(stamp.workspace, person.claim)
        if resolution is None:
            return _Unresolved(index, admitted, person)
        return self._know(person, resolution, spelled, personal_keys, stamp)

    def _know(
        self,
        person: Person,
        resolution: Resolution,
        spelled: bytes,
        personal_keys: frozenset[str],
        stamp: Stamp,
    ) -> Known:
        if resolution.identity is None:
            raise UnknownCustomerError("/customer/id")
        known = know(person, resolution.identity, resolution.foreign, personal_keys=personal_keys)
        if len(spelled) <= CUSTOMER_KEPT_BYTES_MAX:
            self._spelled.put((stamp.workspace, spelled), known)
        return known

    async def _resolve(
        self, unresolved: list[_Unresolved], definitions: Snapshot, stamp: Stamp
    ) -> dict[int, Ready | Exception]:
        """Find the customers of these events, all at once; answers by the events' indices."""
        claims = [each.person.claim for each in unresolved]
        try:
            resolutions = await self._customers.resolve(stamp.workspace, claims)
        except Exception as error:  # noqa: BLE001 - known customers get in meanwhile
            return {each.index: error for each in unresolved}
        personal_keys = definitions.workspace_settings.customer_pii
        settled: dict[int, Ready | Exception] = {}
        for each, resolution in zip(unresolved, resolutions, strict=True):
            spelled = bytes(each.admitted.body.customer)
            try:
                known = self._know(each.person, resolution, spelled, personal_keys, stamp)
                settled[each.index] = _ready(each.admitted, known, stamp)
            except UnknownCustomerError as error:
                settled[each.index] = error
        return settled

    async def _append(
        self, judged: Sequence[Ready | _Unresolved | Exception], stamp: Stamp, pace: Pace
    ) -> list[Outcome]:
        by_partition = await self._records(judged, stamp, pace)
        outcomes: list[Outcome] = [
            each if isinstance(each, Exception) else _PENDING for each in judged
        ]
        handed_over = [
            (partition, indices, ready, self._hand_over(partition, records))
            for partition, (indices, ready, records) in by_partition.items()
        ]
        for partition, indices, ready, append in handed_over:
            try:
                offsets = append if isinstance(append, Exception) else await append
            except Exception as error:  # noqa: BLE001 - other partitions may be acknowledged
                offsets = error
            if isinstance(offsets, Exception):
                for index in indices:
                    outcomes[index] = offsets
                continue
            for index, each, offset in zip(indices, ready, offsets, strict=True):
                outcomes[index] = Accepted(each, partition, offset)
        return outcomes

    @staticmethod
    async def _records(
        judged: Sequence[Ready | _Unresolved | Exception], stamp: Stamp, pace: Pace
    ) -> dict[int, _Appending]:
        """What is to be appended, by partition, in the order given."""
        by_partition: dict[int, _Appending] = {}
        for index, each in enumerate(judged):
            if not isinstance(each, Ready):
                continue
            identity = each.identity
            record = event_record(each.admitted, each.event, identity, each.known.profile, stamp)
            appending = by_partition.get(identity.partition)
            if appending is None:
                appending = by_partition[identity.partition] = ([], [], [])
            indices, ready, records = appending
            indices.append(index)
            ready.append(each)
            records.append(Outgoing(identity.key, record))
            if pace.is_due():
                await pace.turn()
        return by_partition

    def _hand_over(
        self, partition: int, records: list[Outgoing]
    ) -> "asyncio.Future[Offsets] | Exception":
        try:
            return self._appender.append(partition, records)
        except Exception as error:  # noqa: BLE001 - other partitions may have room
            return error


_TOO_MUCH_WORK: Final = ProblemError(
    problems.rate_limited("The batch asks for too much work. Send the rest in smaller ones.")
)
_PENDING: Final = RuntimeError("the outcome of every event is set before it is answered")


def _ready(admitted: Admitted, known: Known, stamp: Stamp) -> Ready:
    return Ready(admitted, stamp.event_id(admitted), known, known.identity)


def _admitted(batch: Batch, index: int, definitions: Snapshot, stamp: Stamp) -> Admitted:
    reading = batch.readings[index]
    if isinstance(reading, bytes):
        return admit(reading, definitions, stamp.accepted_at)
    try:
        return judge(reading, definitions, stamp.accepted_at)
    except UnfitError as error:
        raise refusal(batch.text(index), definitions, stamp.accepted_at, str(error)) from error


def _named(admitted: Admitted, idempotency_key: str) -> Admitted:
    """The event under the producer's id that came as a header."""
    if admitted.body.id and admitted.body.id != idempotency_key:
        detail = "differs from the header Idempotency-Key"
        fault = Fault(pointer="/id", code="conflict", detail=detail)
        raise RefusedEventError(INVALID_EVENT, (fault,))
    body = structs.replace(admitted.body, id=idempotency_key)
    return structs.replace(admitted, body=body)


def _person(
    text: Callable[[], bytes], admitted: Admitted, definitions: Snapshot, stamp: Stamp
) -> Person:
    """Read an event's customer; a refusal lists the faults of the whole event."""
    spelled = bytes(admitted.body.customer)
    try:
        return read_person(spelled, definitions.workspace_settings.customer_pii)
    except RefusedEventError as error:
        faults: tuple[Fault, ...] = event_faults(text(), stamp.accepted_at) or error.faults
        raise RefusedEventError(INVALID_EVENT, faults) from error
