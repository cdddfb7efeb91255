"""YAML documents as JSON values, by the rules of YAML 1.2's core schema.

Guarantee: ``on``, ``yes`` and dates stay the text they are, numbers stay exact, and the reading is
linear in the text: aliases (which can blow a kilobyte up to gigabytes), tags, duplicate keys and
deep nesting are refused.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import yaml

from contracts.codec import Json, JsonObject
from contracts.decimals import DIGITS_MAX
from contracts.errors import RefusedError, pointer_to, refuse
from services.api.json_text import DEPTH_MAX, checked_text, exact_decimal

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INTEGER: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_DECIMAL: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_A_NUMBER: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)


def read_yaml(text: bytes) -> list[Json]:
    """Read every document of a stream; raises ``RefusedError``."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse("", "utf-8", f"is not UTF-8 at byte {error.start}") from error
    try:
        return list(_documents(yaml.parse(decoded, Loader=yaml.CSafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise refuse("", "yaml", f"is not YAML: {error.problem}{place}") from error
    except yaml.YAMLError as error:
        raise refuse(
            "", "yaml", "is not YAML: it has characters that YAML does not allow"
        ) from error


class _Open:
    """A mapping or sequence whose end has not been read yet."""

    def __init__(self, made: "JsonObject | list[Json]", pointer: str) -> None:
        self.made = made
        self.pointer = pointer
        self.key: str | None = None

    def place_of_next(self) -> str:
        """Pointer of the value to come; of a key, the mapping's own."""
        if isinstance(self.made, list):
            return pointer_to(self.pointer, len(self.made))
        return self.pointer if self.key is None else pointer_to(self.pointer, self.key)


def _documents(events: Iterator[yaml.Event]) -> Iterator[Json]:
    index = 0
    root: Json = None
    stack: list[_Open] = []
    for event in events:
        match event:
            case yaml.DocumentEndEvent():
                yield root
                index, root = index + 1, None
            case yaml.AliasEvent():
                raise refuse(_place(stack, index), "alias", "aliases are not taken")
            case yaml.ScalarEvent():
                root = _put(stack, _scalar(event, _place(stack, index)), root)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                place = _place(stack, index)
                _check_collection(stack, event, place)
                empty: JsonObject | list[Json] = (
                    {} if isinstance(event, yaml.MappingStartEvent) else []
                )
                root = _put(stack, empty, root)
                stack.append(_Open(empty, place))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                stack.pop()
            case _:
                pass


def _place(stack: list[_Open], index: int) -> str:
    return stack[-1].place_of_next() if stack else f"/{index}"


def _check_collection(stack: list[_Open], event: yaml.CollectionStartEvent, place: str) -> None:
    if len(stack) >= DEPTH_MAX:
        raise refuse(place, "depth", f"is nested deeper than {DEPTH_MAX} levels")
    if stack and isinstance(stack[-1].made, dict) and stack[-1].key is None:
        raise refuse(place, "key", "has a key that is not text")
    if event.tag is not None:
        raise refuse(place, "tag", "tags are not taken")


def _put(stack: list[_Open], value: Json, root: Json) -> Json:
    """Add a value to what is open; answers the document's root."""
    if not stack:
        return value
    top = stack[-1]
    if isinstance(top.made, list):
        top.made.append(value)
    elif top.key is None:
        key = value if isinstance(value, str) else _spelled(value)
        if key in top.made:
            raise refuse(pointer_to(top.pointer, key), "duplicate-key", "stands twice")
        top.key = key
    else:
        top.made[top.key] = value
        top.key = None
    return root


def _spelled(value: Json) -> str:
    """A key that YAML reads as another scalar, as JSON writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _scalar(event: yaml.ScalarEvent, place: str) -> Json:
    if event.tag is not None and event.tag != "!":
        raise refuse(place, "tag", "tags are not taken")
    text = checked_text(event.value, place)
    plain: bool = event.implicit[0]
    if not plain:
        return text
    return _plain(text, place)


def _plain(text: str, place: str) -> Json:
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        if len(text.lstrip("+-")) > DIGITS_MAX:
            raise refuse(place, "number", f"has more than {DIGITS_MAX} digits")
        return int(text)
    if _DECIMAL.fullmatch(text):
        number = exact_decimal(text)
        if isinstance(number, RefusedError):
            raise refuse(place, number.faults[0].code, number.faults[0].detail)
        assert isinstance(number, Decimal), "a number that is not refused is one"
        return number
    if _NOT_A_NUMBER.fullmatch(text):
        raise refuse(place, "number", "is not a finite number")
    return text
