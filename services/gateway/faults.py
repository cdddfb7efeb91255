"""Everything that is wrong with an event or a customer, listed.

Guarantee: whatever bytes are given, the answer is a list of faults with the pointer of each, in the
order of the fields of the form; it is empty exactly when the quick way has no reason to refuse.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Final, get_args

import msgspec

from contracts.codec import Json, encode
from contracts.definitions.names import check_name
from contracts.errors import Fault, pointer_to
from contracts.events import GoalType
from services.gateway import bounds
from services.gateway.dialects.native import Instant
from services.gateway.goals import goal_faults
from services.gateway.strict_json import levels, read_strictly

Check = Callable[[Json, str], Iterator[Fault]]

_AHEAD: Final = timedelta(seconds=bounds.AHEAD_SECONDS_MAX)
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")
_IDENTIFIERS: Final = ("id", "source_id", "email")
_parse_instant = msgspec.json.Decoder(Instant).decode


def event_faults(text: bytes, now: datetime) -> tuple[Fault, ...]:
    """The faults of one event; ``now`` is the workspace's time."""
    value, unreadable = read_strictly(text)
    return _listed(unreadable, _event(value, now) if _was_read(value, unreadable) else ())


def customer_faults(
    text: bytes, *, pointer: str = "/customer", clearing: bool = False
) -> tuple[Fault, ...]:
    """The faults of one customer; ``clearing`` where null clears a field."""
    value, unreadable = read_strictly(text, pointer=pointer)
    check = _customer_clearing if clearing else _customer
    return _listed(unreadable, check(value, pointer) if _was_read(value, unreadable) else ())


def normal_email(email: str) -> str:
    """An email as it is compared: trimmed, lower-case."""
    return email.strip().lower()


def is_email(email: str) -> bool:
    """True for something on both sides of one @, without white space."""
    return _EMAIL.fullmatch(email) is not None and len(email) <= bounds.EMAIL_CHARACTERS_MAX


def is_day(text: str) -> bool:
    """True for a calendar date, alone or with a time and zone."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return _instant_of(text) is not None
    return True


def _was_read(value: Json, unreadable: tuple[Fault, ...]) -> bool:
    return value is not None or not unreadable


def _listed(first: Iterable[Fault], then: Iterable[Fault]) -> tuple[Fault, ...]:
    """Both lists as one, one fault a pointer, at most as many as an answer takes.

    What is beyond that is not looked for.
    """
    found: dict[str, Fault] = {}
    for fault in chain(first, then):
        found.setdefault(fault.pointer, fault)
        if len(found) == bounds.FAULTS_MAX:
            break
    return tuple(found.values())


def _fault(pointer: str, code: str, detail: str) -> Fault:
    return Fault(pointer=pointer, code=code, detail=detail)


def _object(
    value: Json, pointer: str, fields: Mapping[str, Check], required: frozenset[str]
) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield _fault(pointer, "type", "is not an object")
        return
    for name, check in fields.items():
        place = pointer_to(pointer, name)
        if value.get(name) is not None:
            yield from check(value[name], place)
        elif name in required:
            yield _fault(place, "required", "is required")
    for name in value:
        if name not in fields:
            yield _fault(pointer_to(pointer, name), "unknown-field", "is not a known field")


def _event(value: Json, now: datetime) -> Iterator[Fault]:
    yield from _object(value, "", _EVENT_FIELDS, frozenset({"event", "customer"}))
    if isinstance(value, dict):
        yield from goal_faults(value.get("goal_type"), value.get("goal_value"))
        occurred_at = _instant_of(value.get("occurred_at"))
        if occurred_at is not None and occurred_at > now + _AHEAD:
            detail = f"is more than {bounds.AHEAD_SECONDS_MAX // 60} minutes ahead"
            yield _fault("/occurred_at", "ahead", detail)


def _customer(value: Json, pointer: str) -> Iterator[Fault]:
    yield from _object(value, pointer, _CUSTOMER_FIELDS, frozenset())
    if isinstance(value, dict) and all(value.get(name) is None for name in _IDENTIFIERS):
        detail = "has none of id, source_id and email"
        yield _fault(pointer, "identifier-missing", detail)


def _customer_clearing(value: Json, pointer: str) -> Iterator[Fault]:
    yield from _customer(value, pointer)
    if isinstance(value, dict) and "id" in value and value["id"] is None:
        yield _fault(pointer_to(pointer, "id"), "type", "cannot be cleared")


def _text(characters_max: int | None = None) -> Check:
    def check(value: Json, pointer: str) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield _fault(pointer, "type", "is not a string")
        elif characters_max is not None and not 1 <= len(value) <= characters_max:
            yield _fault(pointer, "length", f"is not 1 to {characters_max} characters long")

    return check


def _name(value: Json, pointer: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield _fault(pointer, "type", "is not a string")
    else:
        yield from check_name("event_type", value, pointer)


def _email(value: Json, pointer: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield _fault(pointer, "type", "is not a string")
    elif not is_email(normal_email(value)) or len(value) > bounds.EMAIL_CHARACTERS_MAX:
        yield _fault(pointer, "email", "is not an email address")


def _day(value: Json, pointer: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield _fault(pointer, "type", "is not a string")
    elif not is_day(value):
        yield _fault(pointer, "date", "is not a date such as 1990-07-31")


def _instant(value: Json, pointer: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield _fault(pointer, "type", "is not a string")
    elif _instant_of(value) is None:
        detail = "is not a time with its zone, such as 2026-11-21T09:30:00Z"
        yield _fault(pointer, "time", detail)


def _instant_of(value: Json) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return _parse_instant(encode(value)).astimezone(UTC)
    except (msgspec.MsgspecError, OverflowError):
        return None


def _boolean(value: Json, pointer: str) -> Iterator[Fault]:
    if not isinstance(value, bool):
        yield _fault(pointer, "type", "is not true or false")


def _goal_type(value: Json, pointer: str) -> Iterator[Fault]:
    known = get_args(GoalType)
    if not isinstance(value, str):
        yield _fault(pointer, "type", "is not a string")
    elif value not in known:
        yield _fault(pointer, "enum", f"is none of {', '.join(known)}")


def _anything(_value: Json, _pointer: str) -> Iterator[Fault]:
    return iter(())


def _metadata(value: Json, pointer: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield _fault(pointer, "type", "is not an object")
        return
    if levels(value) > bounds.METADATA_LEVELS_MAX:
        detail = f"is nested more than {bounds.METADATA_LEVELS_MAX} levels deep"
        yield _fault(pointer, "depth", detail)
    if len(encode(value)) > bounds.METADATA_BYTES_MAX:
        yield _fault(pointer, "size", f"is larger than {bounds.METADATA_BYTES_MAX} bytes")


def _nested(fields: Mapping[str, Check], required: frozenset[str]) -> Check:
    def check(value: Json, pointer: str) -> Iterator[Fault]:
        return _object(value, pointer, fields, required)

    return check


_ADDRESS_FIELDS: Final[Mapping[str, Check]] = {
    name: _text() for name in ("city", "state", "line_1", "line_2", "country", "postal_code")
}
_CUSTOMER_FIELDS: Final[Mapping[str, Check]] = {
    "id": _text(),
    "source_id": _text(bounds.SOURCE_ID_CHARACTERS_MAX),
    "email": _email,
    "name": _text(),
    "phone": _text(),
    "description": _text(),
    "birthdate": _day,
    "birthday": _day,
    "address": _nested(_ADDRESS_FIELDS, frozenset()),
    "metadata": _metadata,
}
_CODE: Final = _nested({"code": _text(bounds.CODE_CHARACTERS_MAX)}, frozenset({"code"}))
_EVENT_FIELDS: Final[Mapping[str, Check]] = {
    "event": _name,
    "customer": _customer,
    "metadata": _metadata,
    "occurred_at": _instant,
    "id": _text(bounds.ID_CHARACTERS_MAX),
    "external_id": _text(bounds.EXTERNAL_ID_CHARACTERS_MAX),
    "goal_type": _goal_type,
    "goal_name": _text(bounds.GOAL_NAME_CHARACTERS_MAX),
    "goal_value": _anything,
    "deleted_at": _instant,
    "referral": _CODE,
    "loyalty": _CODE,
    "historical": _boolean,
}
