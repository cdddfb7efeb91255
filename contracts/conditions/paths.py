"""Paths into a customer or an event: ``metadata.items[].sku``.

A path yields values: null and what is absent yield none, an array its elements (their nulls left
out), everything else itself. Only ``[]`` goes into the elements of an array; ``[]`` after what is
no array yields none. Keys that hold a dot or a bracket cannot be named.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from contracts.codec import Json

Subject = Literal["customer", "event"]

PATH_CHARACTERS_MAX: Final = 500  # far above any real path; bounds what a definition stores
STEPS_MAX: Final = 8  # metadata is at most 8 levels deep

CUSTOMER_FIELDS: Final = ("email", "name", "source_id", "phone", "created_at")
EVENT_FIELDS: Final = ("goal_value", "goal_type", "occurred_at", "referral.code")
SEALED_CUSTOMER_FIELDS: Final = frozenset({"email", "name", "source_id", "phone"})
TIME_FIELDS: Final = frozenset({"created_at", "occurred_at"})

_STEP: Final = re.compile(r"(?P<key>[^.\[\]\x00-\x1f\x7f]+)(?P<each>(?:\[\])*)")

Value = Json | datetime
Reader = Callable[[Mapping[str, Json]], Json]


class Step(Struct, frozen=True):
    """Into ``key``, then into the elements of that many arrays, one inside the other."""

    key: str
    each: int = 0


class Path(Struct, frozen=True, kw_only=True):
    """A place in the subject: a field of its own, or ``metadata`` and the steps below it."""

    subject: Subject
    text: str
    field: str
    steps: tuple[Step, ...] = ()


def parse_path(subject: Subject, text: str) -> Path:
    """Read a path.

    Raises:
        ValueError: the subject has no such path; the message completes "the path ...".
    """
    fields = CUSTOMER_FIELDS if subject == "customer" else EVENT_FIELDS
    if text in fields:
        return Path(subject=subject, text=text, field=text)
    if not text.startswith("metadata."):
        known = ", ".join((*fields, "metadata.<path>"))
        raise ValueError(f"is none of {known}")
    if len(text) > PATH_CHARACTERS_MAX:
        raise ValueError(f"is longer than {PATH_CHARACTERS_MAX} characters")
    parts = text.removeprefix("metadata.").split(".")
    if len(parts) > STEPS_MAX:
        raise ValueError(f"has more than {STEPS_MAX} steps")
    steps = tuple(_parse_step(part) for part in parts)
    return Path(subject=subject, text=text, field="metadata", steps=steps)


def _parse_step(part: str) -> Step:
    found = _STEP.fullmatch(part)
    if found is None:
        raise ValueError("is not a path such as metadata.items[].sku")
    return Step(found["key"], len(found["each"]) // 2)


def compile_steps(steps: tuple[Step, ...]) -> Reader:
    """A reader of metadata: answers one value, a list of values, or None for none.

    The answer of a path that goes through arrays is one flat list, so that its caller treats it
    as it treats an array that stands in the metadata itself.
    """
    if len(steps) == 1 and not steps[0].each:
        key = steps[0].key
        return lambda metadata: metadata.get(key)
    if not any(step.each for step in steps):
        return _compile_keys(tuple(step.key for step in steps))
    return _compile_each(steps)


def _compile_keys(keys: tuple[str, ...]) -> Reader:
    first, *rest = keys

    def read(metadata: Mapping[str, Json]) -> Json:
        value = metadata.get(first)
        for key in rest:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    return read


def _compile_each(steps: tuple[Step, ...]) -> Reader:
    first, *rest = steps

    def read(metadata: Mapping[str, Json]) -> Json:
        nodes = _spread([metadata.get(first.key)], first.each)
        for step in rest:
            nodes = [node.get(step.key) for node in nodes if isinstance(node, dict)]
            nodes = _spread(nodes, step.each)
        if len(nodes) == 1:
            return nodes[0]
        return [value for node in nodes for value in _elements(node)]

    return read


def _spread(nodes: list[Json], each: int) -> list[Json]:
    for _ in range(each):
        nodes = [inner for node in nodes if isinstance(node, list) for inner in node]
    return nodes


def values_of(node: Value) -> Sequence[Value]:
    """The values that a node yields."""
    return (node,) if isinstance(node, datetime) else _elements(node)


def _elements(node: Json) -> list[Json]:
    if node is None:
        return []
    if isinstance(node, list):
        return [element for element in node if element is not None]
    return [node]
