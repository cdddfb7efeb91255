"""Whether an event is admitted: everything that holds of it before anyone is asked anything.

Guarantee: an event that passes has nothing wrong with it besides, perhaps, its customer. One that
does not is refused with every fault, each with its pointer and code: what the quick way finds
suspicious is read again by ``faults``, which says exactly what is wrong, if anything is.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, DecimalException
from typing import Final, TypeGuard

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from contracts.codec import JsonObject, encode
from contracts.definitions.catalogue import Snapshot
from contracts.definitions.event_types import EventType
from contracts.definitions.names import check_name
from contracts.errors import Fault
from contracts.events import EMPTY_OBJECT
from services.gateway.bounds import (
    AHEAD_SECONDS_MAX,
    EVENT_BYTES_MAX,
    FAULTS_MAX,
    METADATA_BYTES_MAX,
    METADATA_LEVELS_MAX,
)
from services.gateway.dialects.native import EventBody, decode_event
from services.gateway.errors import (
    INVALID_EVENT,
    INVALID_METADATA,
    UNKNOWN_EVENT_TYPE,
    RefusedEventError,
)
from services.gateway.faults import event_faults
from services.gateway.goals import goal_faults, goal_value_of
from services.gateway.strict_json import is_doubtful, levels, read_strictly
from services.runtime import problems
from services.runtime.problems import ProblemError

UNREADABLE: Final = (
    msgspec.MsgspecError,
    DecimalException,
    RecursionError,
    ValueError,
)
"""What decoding raises over a text that is refused; ``UnfitError`` is among it."""

_AHEAD: Final = timedelta(seconds=AHEAD_SECONDS_MAX)


class UnfitError(ValueError):
    """What was read breaks a rule; the exact way lists which."""


class Admitted(Struct, frozen=True, kw_only=True, gc=False):
    """An event that is admitted, customer not yet known.

    ``metadata`` is encoded, ``values`` the same as values. Times are in UTC.
    """

    body: EventBody
    metadata: Raw
    values: JsonObject
    event_type: EventType | None
    occurred_at: datetime | None = None
    deleted_at: datetime | UnsetType | None = UNSET
    goal_value: Decimal | None = None


def admit(text: bytes, definitions: Snapshot, now: datetime) -> Admitted:
    """Read and judge one event.

    Args:
        text: JSON of the native form.
        definitions: what it is judged by.
        now: the workspace's time.

    Raises:
        RefusedEventError: with every fault.
        ProblemError: 413, the event is too large.
    """
    if len(text) > EVENT_BYTES_MAX:
        raise ProblemError(problems.too_large(EVENT_BYTES_MAX))
    try:
        body = decode_event(text)
        if is_doubtful(text, encode(body)):
            faults = event_faults(text, now)
            if faults:
                raise _refused(text, definitions, faults)
        return judge(body, definitions, now)
    except UNREADABLE as error:
        raise refusal(text, definitions, now, str(error)) from error


def judge(body: EventBody, definitions: Snapshot, now: datetime) -> Admitted:
    """Judge an event whose text holds nothing that no JSON of ours may hold.

    Raises:
        UnfitError: it breaks a rule; ``refusal`` lists which.
        RefusedEventError: its type is not defined, or refuses its metadata.
    """
    occurred_at, deleted_at = body.occurred_at, body.deleted_at
    if occurred_at:
        if occurred_at.tzinfo is not UTC:
            occurred_at = in_utc(occurred_at)
        if occurred_at > now and occurred_at > now + _AHEAD:
            raise UnfitError("/occurred_at is too far ahead")
    goal_value = None
    if body.goal_value is not UNSET or body.goal_type:
        if goal_faults(body.goal_type, body.goal_value):
            raise UnfitError("/goal_value is refused")
        goal_value = goal_value_of(body.goal_value)
    metadata, values = read_metadata(body.metadata)
    event_type = definitions.event_types.get(body.event)
    if event_type is None:
        _check_unknown_type(body.event, definitions)
    elif faults := event_type.validator.validate(metadata):
        raise RefusedEventError(INVALID_METADATA, faults)
    return Admitted(
        body=body,
        metadata=metadata,
        values=values,
        event_type=event_type,
        occurred_at=occurred_at or None,
        deleted_at=in_utc(deleted_at) if deleted_at else deleted_at,
        goal_value=goal_value,
    )


def read_metadata(given: object) -> tuple[Raw, JsonObject]:
    """A metadata object encoded and as values, absent or null as an empty one.

    Raises:
        UnfitError: it is no object, too large, or too deep.
    """
    if _is_object(given):
        encoded = encode(given)
        many_brackets = encoded.count(b"{") + encoded.count(b"[") > METADATA_LEVELS_MAX
        if many_brackets and levels(given) > METADATA_LEVELS_MAX:
            raise UnfitError("metadata is nested too deeply")
        if len(encoded) > METADATA_BYTES_MAX:
            raise UnfitError("metadata is too large")
        return Raw(encoded), given
    if given is None or given is UNSET:
        return EMPTY_OBJECT, {}
    raise UnfitError("metadata is not an object")


def _is_object(value: object) -> TypeGuard[JsonObject]:
    return isinstance(value, dict)


def in_utc(instant: datetime) -> datetime:
    """The same instant in UTC; raises ``UnfitError`` where there it is before year 1."""
    if instant.tzinfo is UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise UnfitError("a time is out of range") from error


def refusal(
    text: bytes, definitions: Snapshot, now: datetime, reason: str = ""
) -> RefusedEventError:
    """The refusal of an event; ``reason`` stands where the exact way found nothing wrong."""
    faults = event_faults(text, now) or (
        Fault(pointer="", code="unreadable", detail=f"cannot be read: {reason}"),
    )
    return _refused(text, definitions, faults)


def _refused(text: bytes, definitions: Snapshot, faults: tuple[Fault, ...]) -> RefusedEventError:
    return RefusedEventError(INVALID_EVENT, (*faults, *_metadata_faults(text, definitions, faults)))


def _check_unknown_type(event: str, definitions: Snapshot) -> None:
    faults = check_name("event_type", event, "/event")
    if faults:
        raise RefusedEventError(INVALID_EVENT, faults)
    if definitions.workspace_settings.unknown_event_types == "refuse":
        detail = "is not the name of an event type of this workspace"
        raise RefusedEventError(
            UNKNOWN_EVENT_TYPE, (Fault(pointer="/event", code="unknown", detail=detail),)
        )


def _metadata_faults(
    text: bytes, definitions: Snapshot, found: tuple[Fault, ...]
) -> tuple[Fault, ...]:
    """What its event type finds wrong with the metadata of an event refused for other reasons."""
    if len(found) >= FAULTS_MAX or any(
        not fault.pointer or fault.pointer.startswith("/metadata") for fault in found
    ):
        return ()
    value, _ = read_strictly(text)
    if not isinstance(value, dict) or not isinstance(name := value.get("event"), str):
        return ()
    event_type = definitions.event_types.get(name)
    if event_type is None:
        return ()
    return event_type.validator.validate(encode(value.get("metadata")))
