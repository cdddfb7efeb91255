"""What definitions say about each other: references, and rules over what event types declare.

``references`` names what a definition uses; ``check_against`` finds the faults of one definition in
the world it would stand in. A change to an event type or to the workspace may make another
definition faulty: run ``check_against`` for every definition of the world that would come to be.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from msgspec import Struct

from contracts.conditions import Comparison, Condition, Path, comparisons_of
from contracts.conditions.operators import TIME_OPERATORS
from contracts.definitions import Definition
from contracts.definitions.distributions import Distribution
from contracts.definitions.endpoints import Endpoint
from contracts.definitions.event_types import EventType, declared_types
from contracts.definitions.loyalty_programs import EarningRule, LoyaltyProgram
from contracts.definitions.names import Kind
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import Fault, pointer_to

NUMERIC_TYPES: Final = frozenset({"number", "integer"})
TIME_TYPES: Final = frozenset({"datetime"})


class Reference(Struct, frozen=True, kw_only=True):
    """A definition that another one names, and where it does."""

    kind: Kind
    name: str
    pointer: str


class World(Protocol):
    """What a definition may refer to; a catalogue's snapshot is one."""

    @property
    def workspace_settings(self) -> WorkspaceSettings:
        """The workspace's own settings."""
        ...

    @property
    def event_types(self) -> Mapping[str, EventType]:
        """Event types by name."""
        ...

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Endpoints by name."""
        ...


def references(definition: Definition, pointer: str = "") -> tuple[Reference, ...]:
    """What a definition uses, in document order."""
    return tuple(_references(definition, pointer))


def check_against(definition: Definition, world: World, pointer: str = "") -> tuple[Fault, ...]:
    """The faults of a definition in a world: undefined references, and what types forbid.

    With ``unknown_event_types: allow`` an event type need not be defined to trigger a rule.

    Args:
        definition: what ``parse_definition`` answered.
        world: everything that would stand beside it.
        pointer: where the spec stands: ``<pointer>/spec`` of what ``parse_definition`` was given.
    """
    undefined = tuple(_undefined(definition, world, pointer))
    match definition:
        case LoyaltyProgram():
            return undefined + tuple(_program_faults(definition, world, pointer))
        case Distribution():
            event_type = world.event_types.get(definition.event)
            return undefined + tuple(_condition_faults(definition.condition, event_type))
        case WorkspaceSettings() | EventType() | Endpoint():
            return undefined


def _references(definition: Definition, pointer: str) -> Iterator[Reference]:
    match definition:
        case LoyaltyProgram():
            for index, rule in enumerate(definition.rules):
                place = pointer_to(pointer, "earning_rules", index, "on", "event")
                yield Reference(kind="event_type", name=rule.event, pointer=place)
        case Distribution():
            place = pointer_to(pointer, "on", "event")
            yield Reference(kind="event_type", name=definition.event, pointer=place)
            if definition.endpoint is not None:
                place = pointer_to(pointer, "endpoint")
                yield Reference(kind="endpoint", name=definition.endpoint, pointer=place)
        case WorkspaceSettings() | EventType() | Endpoint():
            return


def _undefined(definition: Definition, world: World, pointer: str) -> Iterator[Fault]:
    any_event = world.workspace_settings.unknown_event_types == "allow"
    for reference in _references(definition, pointer):
        if reference.kind == "endpoint":
            is_defined = reference.name in world.endpoints
        else:
            is_defined = any_event or reference.name in world.event_types
        if not is_defined:
            yield Fault(
                pointer=reference.pointer,
                code="undefined",
                detail=f"{reference.kind} {reference.name} is not defined",
            )


def _program_faults(program: LoyaltyProgram, world: World, pointer: str) -> Iterator[Fault]:
    for index, rule in enumerate(program.rules):
        event_type = world.event_types.get(rule.event)
        yield from _condition_faults(rule.condition, event_type)
        yield from _sealed_faults(rule.condition, event_type, world)
        if event_type is not None:
            place = pointer_to(pointer, "earning_rules", index, "per", "of")
            yield from _measure_faults(rule, event_type, place)


def _condition_faults(condition: Condition | None, event_type: EventType | None) -> Iterator[Fault]:
    if condition is None or event_type is None:
        return
    for test in comparisons_of(condition):
        if test.path.subject == "event" and test.path.field == "metadata":
            yield from _test_faults(test, event_type)


def _test_faults(test: Comparison, event_type: EventType) -> Iterator[Fault]:
    declared = declared_types(event_type, _keys(test.path))
    if declared is None:
        return
    if not declared:
        yield Fault(
            pointer=pointer_to(test.pointer, "event"),
            code="undeclared",
            detail=f"{event_type.name} declares no {test.path.text}",
        )
    elif declared == TIME_TYPES and test.operator not in TIME_OPERATORS:
        yield Fault(
            pointer=pointer_to(test.pointer, test.operator),
            code="operator",
            detail="times take before, after, within, older_than and exists",
        )


def _sealed_faults(
    condition: Condition | None, event_type: EventType | None, world: World
) -> Iterator[Fault]:
    if condition is None:
        return
    for test in comparisons_of(condition):
        if test.path.field == "metadata" and _is_sealed(test.path, event_type, world):
            yield Fault(
                pointer=pointer_to(test.pointer, test.path.subject),
                code="sealed-field",
                detail=f"{test.path.text} is sealed: a lasting rule may not test it",
            )


def _measure_faults(rule: EarningRule, event_type: EventType, pointer: str) -> Iterator[Fault]:
    if rule.per is None or rule.per.of.field != "metadata":
        return
    path = rule.per.of
    declared = declared_types(event_type, _keys(path))
    if path.steps[0].key in event_type.pii_fields:
        yield Fault(
            pointer=pointer,
            code="sealed-field",
            detail=f"{path.text} is sealed: a lasting rule may not count it",
        )
    elif declared is not None and not declared:
        yield Fault(
            pointer=pointer,
            code="undeclared",
            detail=f"{event_type.name} declares no {path.text}",
        )
    elif declared is not None and not declared <= NUMERIC_TYPES:
        yield Fault(
            pointer=pointer,
            code="type",
            detail=f"{event_type.name} declares {path.text} as {', '.join(sorted(declared))}",
        )


def _is_sealed(path: Path, event_type: EventType | None, world: World) -> bool:
    key = path.steps[0].key
    if path.subject == "customer":
        return key in world.workspace_settings.customer_pii
    return event_type is not None and key in event_type.pii_fields


def _keys(path: Path) -> tuple[str, ...]:
    return tuple(step.key for step in path.steps)
