"""The JSON that the gateway answers."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from contracts.errors import Fault
from contracts.identifiers import EventId
from services.gateway.admission import Admitted
from services.gateway.dialects.native import CodeBody
from services.gateway.intake import Accepted
from services.gateway.people import CustomerAnswer, Known
from services.gateway.records import Stamp

encode = msgspec.json.Encoder(decimal_format="number").encode


class EventAnswer(Struct, frozen=True, kw_only=True):
    """The answer to an event. In a dry run ``position`` is null and ``dry_run`` true."""

    object: str
    id: EventId | None
    type: str
    customer: Raw
    referral: CodeBody | None
    loyalty: CodeBody | None
    metadata: Raw
    occurred_at: datetime
    created_at: datetime
    external_id: str | None
    position: str | None
    warnings: Sequence[Fault] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class AcceptedAnswer(Struct, frozen=True, kw_only=True, gc=False):
    """One event of a batch that was accepted."""

    index: int
    id: EventId
    position: str
    warnings: Sequence[Fault] | UnsetType = UNSET


class RefusedAnswer(Struct, frozen=True, kw_only=True):
    """One event of a batch that was refused: a problem document, pointers from the event on."""

    index: int
    problem: Raw


class BatchAnswer(Struct, frozen=True, kw_only=True):
    """The answer to a batch."""

    accepted: int
    refused: int
    results: Sequence[AcceptedAnswer | RefusedAnswer]


class ChangedCustomerAnswer(CustomerAnswer, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to ``POST /v1/customers``."""

    position: str | UnsetType = UNSET
    warnings: Sequence[Fault] | UnsetType = UNSET


def event_answer(accepted: Accepted, stamp: Stamp) -> bytes:
    """Answer an event that stands in the log."""
    known = accepted.ready.known
    return encode(
        _answer(
            accepted.ready.admitted,
            accepted.ready.event,
            known.answer,
            stamp,
            position=accepted.position,
            warnings=known.warnings,
        )
    )


def dry_answer(
    admitted: Admitted,
    event: EventId | None,
    customer: CustomerAnswer,
    stamp: Stamp,
    warnings: tuple[Fault, ...],
) -> bytes:
    """Answer an event that would have been accepted."""
    shown = Raw(encode(customer))
    return encode(_answer(admitted, event, shown, stamp, position=None, warnings=warnings))


def accepted_answer(index: int, accepted: Accepted) -> AcceptedAnswer:
    """Answer one accepted event of a batch."""
    return AcceptedAnswer(
        index=index,
        id=accepted.ready.event,
        position=accepted.position,
        warnings=accepted.ready.known.warnings or UNSET,
    )


def _answer(
    admitted: Admitted,
    event: EventId | None,
    customer: Raw,
    stamp: Stamp,
    *,
    position: str | None,
    warnings: tuple[Fault, ...],
) -> EventAnswer:
    body = admitted.body
    return EventAnswer(
        object="event",
        id=event,
        type=body.event,
        customer=customer,
        referral=body.referral or None,
        loyalty=body.loyalty or None,
        metadata=admitted.metadata,
        occurred_at=admitted.occurred_at or stamp.accepted_at,
        created_at=stamp.accepted_at,
        external_id=body.external_id or None,
        position=position,
        warnings=warnings or UNSET,
        dry_run=True if position is None else UNSET,
    )


def customer_answer(known: Known, position: str | None) -> bytes:
    """Answer ``POST /v1/customers``; ``position`` None where nothing was to be appended."""
    shown = msgspec.json.decode(known.answer, type=ChangedCustomerAnswer)
    return encode(
        msgspec.structs.replace(shown, position=position or UNSET, warnings=known.warnings or UNSET)
    )
