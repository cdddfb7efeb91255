"""Conditions as a tree, read from a document with a fault for everything that is wrong in it.

The root has depth 1; ``all``, ``any`` and ``not`` add one. A condition has at most ``NODES_MAX``
nodes, counted in document order; the fault names the node that is one too many.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from contracts.conditions.operators import (
    OPERATORS,
    TIME_OPERATORS,
    Operand,
    Operator,
    parse_operand,
)
from contracts.conditions.paths import (
    SEALED_CUSTOMER_FIELDS,
    TIME_FIELDS,
    Path,
    Subject,
    parse_path,
)
from contracts.errors import UNSUPPORTED, Fault, RefusedError, pointer_to
from contracts.shapes import is_array, is_object

DEPTH_MAX: Final = 10  # nesting of a condition; people cannot read deeper ones
NODES_MAX: Final = 100  # conditions in one tree; bounds the cost of one evaluation

_NOT_YET: Final = frozenset({"segment", "events", "goals", "loyalty", "tier", "referrals", "badge"})


class Context(Struct, frozen=True, kw_only=True):
    """What a condition may look at where it stands."""

    has_event: bool = True
    sealed_refused: bool = False
    """True for rules with lasting effects: what they test must outlive an erasure."""


class Comparison(Struct, frozen=True, kw_only=True):
    """One comparison; holds when any value at the path passes the operator."""

    pointer: str
    path: Path
    operator: Operator
    operand: Operand


class AllOf(Struct, frozen=True, kw_only=True):
    """Holds when every child holds; of no children, always."""

    pointer: str
    children: tuple["Condition", ...]


class AnyOf(Struct, frozen=True, kw_only=True):
    """Holds when some child holds; of no children, never."""

    pointer: str
    children: tuple["Condition", ...]


class Not(Struct, frozen=True, kw_only=True):
    """Holds when its child does not."""

    pointer: str
    child: "Condition"


Condition = AllOf | AnyOf | Not | Comparison


def parse(value: object, pointer: str = "", context: Context | None = None) -> Condition:
    """Read a condition from decoded JSON or YAML.

    Args:
        value: the condition, decoded.
        context: what it may look at; an event, and sealed fields, where absent.
        pointer: where the condition stands in its document; every fault starts with it.

    Raises:
        RefusedError: with every fault, in document order.
    """
    reader = _Reader(context or Context())
    condition = reader.read(value, pointer, 1)
    if reader.faults:
        raise RefusedError(reader.faults)
    assert condition is not None, "a condition without faults was read"
    return condition


def comparisons_of(condition: Condition) -> Iterator[Comparison]:
    """The comparisons in a condition, in document order."""
    match condition:
        case Comparison():
            yield condition
        case Not(child=child):
            yield from comparisons_of(child)
        case AllOf(children=children) | AnyOf(children=children):
            for child in children:
                yield from comparisons_of(child)


class _Reader:
    """One reading: the faults and the nodes so far. None stands for what could not be read."""

    def __init__(self, context: Context) -> None:
        self.faults: list[Fault] = []
        self._context: Context = context
        self._node_count: int = 0

    def read(self, value: object, pointer: str, depth: int) -> Condition | None:
        self._node_count += 1
        if self._node_count > NODES_MAX:
            if self._node_count == NODES_MAX + 1:
                self._fault(pointer, "too-many-nodes", f"is one node more than {NODES_MAX}")
            return None
        if depth > DEPTH_MAX:
            return self._fault(pointer, "too-deep", f"is nested deeper than {DEPTH_MAX}")
        if not is_object(value) or not value:
            return self._fault(pointer, "type", "is not a condition: an object with its test")
        return self._read_object(value, pointer, depth)

    def _read_object(
        self, fields: Mapping[str, object], pointer: str, depth: int
    ) -> Condition | None:
        if "all" in fields or "any" in fields:
            return self._read_list(fields, pointer, depth)
        if "not" in fields:
            if not self._only(fields, "not", pointer):
                return None
            child = self.read(fields["not"], pointer_to(pointer, "not"), depth + 1)
            return None if child is None else Not(pointer=pointer, child=child)
        if "customer" in fields or "event" in fields:
            return self._read_test(fields, pointer)
        for name in sorted(_NOT_YET & fields.keys()):
            return self._fault(
                pointer_to(pointer, name), UNSUPPORTED, f"{name} conditions are not supported yet"
            )
        for name in fields:
            self._fault(pointer_to(pointer, name), "unknown-field", f"{name[:60]} is no condition")
        return None

    def _read_list(
        self, fields: Mapping[str, object], pointer: str, depth: int
    ) -> Condition | None:
        name = "all" if "all" in fields else "any"
        if not self._only(fields, name, pointer):
            return None
        listed, below = fields[name], pointer_to(pointer, name)
        if not is_array(listed):
            return self._fault(below, "type", "is not an array of conditions")
        read: list[Condition | None] = []
        for index, value in enumerate(listed):
            read.append(self.read(value, pointer_to(below, index), depth + 1))
            if self._node_count > NODES_MAX:
                return None
        children = tuple(child for child in read if child is not None)
        if len(children) < len(read):
            return None
        kind = AllOf if name == "all" else AnyOf
        return kind(pointer=pointer, children=children)

    def _read_test(self, fields: Mapping[str, object], pointer: str) -> Comparison | None:
        subject: Subject = "customer" if "customer" in fields else "event"
        path = self._read_path(subject, fields[subject], pointer_to(pointer, subject))
        names = [name for name in fields if name != subject]
        for name in names:
            if name not in OPERATORS:
                self._fault(
                    pointer_to(pointer, name), "unknown-operator", f"{name[:60]} is no operator"
                )
                return None
        if len(names) != 1:
            return self._fault(pointer, "operator", "takes exactly one operator")
        return self._read_operator(path, OPERATORS[names[0]], fields[names[0]], pointer)

    def _read_operator(
        self, path: Path | None, operator: Operator, value: object, pointer: str
    ) -> Comparison | None:
        place = pointer_to(pointer, operator)
        if path is not None and path.field in TIME_FIELDS and operator not in TIME_OPERATORS:
            return self._fault(
                place, "operator", "times take before, after, within, older_than and exists"
            )
        try:
            operand = parse_operand(operator, value)
        except ValueError as error:
            return self._fault(place, "operand", f"{operator} {error}")
        if path is None:
            return None
        return Comparison(pointer=pointer, path=path, operator=operator, operand=operand)

    def _read_path(self, subject: Subject, value: object, pointer: str) -> Path | None:
        if subject == "event" and not self._context.has_event:
            return self._fault(pointer, "no-event", "no event triggers this rule")
        if not isinstance(value, str):
            return self._fault(pointer, "type", "is not a path")
        try:
            path = parse_path(subject, value)
        except ValueError as error:
            return self._fault(pointer, "path", f"the path {value[:60]!r} {error}")
        sealed = subject == "customer" and path.field in SEALED_CUSTOMER_FIELDS
        if sealed and self._context.sealed_refused:
            return self._fault(
                pointer, "sealed-field", f"{path.text} is sealed: a lasting rule may not test it"
            )
        return path

    def _only(self, fields: Mapping[str, object], name: str, pointer: str) -> bool:
        others = [other for other in fields if other != name]
        for other in others:
            self._fault(
                pointer_to(pointer, other), "unknown-field", f"{other[:60]} stands beside {name}"
            )
        return not others

    def _fault(self, pointer: str, code: str, detail: str) -> None:
        self.faults.append(Fault(pointer=pointer, code=code, detail=detail))
