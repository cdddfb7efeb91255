"""How much work a JSON Schema can ask for, bounded before any event meets it.

References make a small schema ask for exponential work: ten definitions that each name the next
one twice are a thousand checks of one value. The count here follows references in place, and one
level down for each level that metadata may have, and stops at ``CHECKS_MAX``. What may meet each
element of an array is bounded apart, since metadata holds thousands of elements.
"""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from contracts.errors import Fault
from contracts.shapes import is_array, is_object

CHECKS_MAX: Final = 20_000  # subschemas applied along all paths; about a millisecond of checking
ELEMENT_CHECKS_MAX: Final = 200  # of one element; an event has 16,000: about 100 ms of checking
LEVELS_MAX: Final = 8  # levels of metadata

_IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_IN_PLACE_MAPS: Final = ("dependentSchemas",)
_BELOW: Final = (
    "prefixItems",
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_BELOW_MAPS: Final = ("properties", "patternProperties")

Schema = Mapping[str, object]


def check_cost(root: Schema) -> tuple[Fault, ...]:
    """The fault of a schema that could ask for too much, or refers to another document."""
    try:
        counter = _Counter(root)
        if counter.count(root, LEVELS_MAX) > CHECKS_MAX:
            detail = f"can ask for more than {CHECKS_MAX} checks of one event"
            return (Fault(pointer="", code="too-costly", detail=detail),)
        if any(counter.count(each, 0) > ELEMENT_CHECKS_MAX for each in counter.elements()):
            detail = f"can ask for more than {ELEMENT_CHECKS_MAX} checks of one element or field"
            return (Fault(pointer="", code="too-costly", detail=detail),)
    except RecursionError:
        return (Fault(pointer="", code="too-deep", detail="nests or refers too deeply"),)
    except _ReferenceError as error:
        return (Fault(pointer="", code="reference", detail=str(error)),)
    return ()


def checks_of(root: Schema) -> int:
    """How many checks one event may ask for of a schema that ``check_cost`` found no fault in."""
    return _Counter(root).count(root, LEVELS_MAX)


class _ReferenceError(Exception):
    """A reference that is not to a place in the same document."""


class _Counter:
    """Counts each subschema once a level; what is being counted already is not entered again."""

    def __init__(self, root: Schema) -> None:
        self._root: Schema = root
        self._anchors: dict[str, Schema] = {}
        self._known: dict[tuple[int, int], int] = {}
        for node in _every_object(root):
            if node is not root and isinstance(node.get("$id"), str):
                raise _ReferenceError("a document of its own ($id) stands below the root")
            for name in ("$anchor", "$dynamicAnchor"):
                anchor = node.get(name)
                if isinstance(anchor, str):
                    self._anchors[anchor] = node

    def count(self, node: object, levels: int) -> int:
        """Subschemas that a value with so many levels below it may meet; stops at the bound."""
        if not is_object(node):
            return 1
        place = (id(node), levels)
        known = self._known.get(place)
        if known is not None:
            return known
        self._known[place] = 0
        total = 1 + _listed(node)
        for child in self._in_place(node):
            total = min(total + self.count(child, levels), CHECKS_MAX + 1)
        if levels:
            for child in _children(node, _BELOW, _BELOW_MAPS):
                total = min(total + self.count(child, levels - 1), CHECKS_MAX + 1)
        self._known[place] = total
        return total

    def elements(self) -> Iterator[Schema]:
        """The subschemas that may meet many values: those below others, and all they lead to."""
        waiting: list[object] = []
        for node in _every_object(self._root):
            waiting.extend(_children(node, _BELOW, ("patternProperties",)))
        seen: set[int] = set()
        while waiting:
            each = waiting.pop()
            if is_object(each) and id(each) not in seen:
                seen.add(id(each))
                yield each
                waiting.extend(self._in_place(each))
                waiting.extend(_children(each, _BELOW, _BELOW_MAPS))

    def _in_place(self, node: Schema) -> Iterator[object]:
        yield from _children(node, _IN_PLACE, _IN_PLACE_MAPS)
        for name in ("$ref", "$dynamicRef"):
            reference = node.get(name)
            if isinstance(reference, str):
                yield self._resolve(reference)

    def _resolve(self, reference: str) -> object:
        if not reference.startswith("#"):
            raise _ReferenceError(f"{reference[:100]} is not in this document")
        fragment = unquote(reference.removeprefix("#"))
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment)
        return _at_pointer(self._root, fragment)


def _at_pointer(root: object, pointer: str) -> object:
    """What stands at a JSON pointer; None where nothing does (compiling refuses that)."""
    node = root
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if is_object(node):
            node = node.get(key)
        elif is_array(node) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        else:
            return None
    return node


def _children(node: Schema, single: tuple[str, ...], mapped: tuple[str, ...]) -> Iterator[object]:
    for name in single:
        child = node.get(name)
        if is_array(child):
            yield from child
        elif child is not None:
            yield child
    for name in mapped:
        children = node.get(name)
        if is_object(children):
            yield from children.values()


def _listed(node: Schema) -> int:
    """Entries of lists that a value is held against one by one."""
    count = 0
    for name in ("required", "dependentRequired"):
        names = node.get(name)
        if is_array(names) or is_object(names):
            count += len(names)
    choices = node.get("enum")
    if is_array(choices):
        count += sum(is_array(each) or is_object(each) for each in choices)
    return count


def _every_object(node: object) -> Iterator[Schema]:
    """Every object in the document, each before what is in it."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if is_object(each):
            yield each
            waiting.extend(each.values())
        elif is_array(each):
            waiting.extend(each)
