"""What an apply would do, decided as a value. Pure.

Guarantee: a plan is made of all the documents or refused with every fault found; what it would
leave behind has no undefined reference and no rule that an event type contradicts.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts.codec import Json, JsonObject, encode
from contracts.definitions import KINDS, Definition, parse_definition
from contracts.definitions.checks import World as CheckedWorld
from contracts.definitions.checks import check_against, references
from contracts.definitions.event_types import EventType, compatible
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import Fault, RefusedError, pointer_to, refuse
from services.api.definitions import clocks
from services.api.definitions.differences import Difference, differences
from services.api.definitions.sealed_fields import SealedFields, digest_of, redacted
from services.api.definitions.standing import Key, Standing, world_of
from services.runtime.sealing import MasterKey

DOCUMENTS_MAX: Final = 10_000
"""Documents of one apply."""
SPEC_BYTES_MAX: Final = 512 * 1024
"""Of one definition: the largest JSON Schema with room for its description, well below a record of
the log."""

_ORDER: Final = {kind: place for place, kind in enumerate(KINDS)}


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it was sent; ``pointer`` says where it stood, empty for a body of its own."""

    kind: str
    name: str
    spec: Json
    pointer: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that is to be written, without its secrets, and these."""

    kind: str
    name: str
    spec: JsonObject
    definition: Definition
    pointer: str
    was: Standing | None
    diff: tuple[Difference, ...]
    sealed: SealedFields | None

    @property
    def key(self) -> Key:
        """What names it in its workspace."""
        return self.kind, self.name

    @property
    def is_idle(self) -> bool:
        """Whether what stands says the same, and is understood."""
        understood = self.was is not None and self.was.definition is not None
        return understood and not self.diff and self.sealed is None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, in the order of writing, and what stays as it is."""

    changes: tuple[Change, ...]
    unchanged: tuple[Standing, ...]

    def event_type_changes(self) -> Iterable[tuple[Change, EventType, EventType]]:
        """Event types whose new form is not proven to take all that the old one took."""
        for change in self.changes:
            new = change.definition
            old = None if change.was is None else change.was.definition
            if isinstance(new, EventType) and isinstance(old, EventType) and compatible(old, new):
                yield change, old, new


class BreaksOthersError(Exception):
    """The change would leave definitions that contradict it; ``faults`` name them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"{len(faults)} definitions stand against it")
        self.faults = tuple(faults)


def plan_apply(
    workspace: str,
    documents: Sequence[Submitted],
    standing: Mapping[Key, Standing],
    master: MasterKey,
    *,
    at: datetime,
) -> Plan:
    """Decide what the documents change; ``at`` is the present, which a new test clock shows.

    Raises:
        RefusedError: documents are at fault; pointers start where each stood.
        BreaksOthersError: definitions that are not among the documents stand against them.
    """
    changes: dict[Key, Change] = {}
    unchanged: list[Standing] = []
    faults: list[Fault] = []
    seen: set[Key] = set()
    for document in documents:
        try:
            change = _change(workspace, document, standing, master, at)
        except RefusedError as error:
            faults.extend(error.faults)
        else:
            if change.key in seen:
                place = pointer_to(document.pointer, "name")
                faults.append(Fault(pointer=place, code="duplicate", detail="stands there twice"))
            seen.add(change.key)
            if change.was is not None and change.is_idle:
                unchanged.append(change.was)
            else:
                changes[change.key] = change
    if faults:
        raise RefusedError(faults)
    _check_world(workspace, changes, standing)
    ordered = sorted(changes.values(), key=lambda each: _ORDER[each.kind])
    return Plan(changes=tuple(ordered), unchanged=tuple(unchanged))


def check_delete(workspace: str, key: Key, standing: Mapping[Key, Standing]) -> None:
    """Raise ``BreaksOthersError`` while another definition uses this one or needs it to hold."""
    users = [
        _of_other(each, Fault(pointer=used.pointer, code="in-use", detail="uses it"))
        for each in standing.values()
        if each.key != key and each.definition is not None
        for used in references(each.definition)
        if (used.kind, used.name) == key
    ]
    if users:
        raise BreaksOthersError(users)
    left = {other: each.definition for other, each in standing.items() if other != key}
    _check_others(workspace, left, standing)


def _change(
    workspace: str,
    document: Submitted,
    standing: Mapping[Key, Standing],
    master: MasterKey,
    at: datetime,
) -> Change:
    kind, name, pointer = document.kind, document.name, document.pointer
    if kind == "workspace" and name != workspace:
        place = pointer_to(pointer, "name")
        detail = f"is not {workspace}: a workspace's settings bear its own name"
        raise RefusedError((Fault(pointer=place, code="name", detail=detail),))
    definition = parse_definition(kind, name, document.spec, pointer)
    assert isinstance(document.spec, dict), "a definition that could be read is an object"
    was = standing.get((kind, name))
    place = pointer_to(pointer, "spec") if pointer else ""
    if len(encode(document.spec)) > SPEC_BYTES_MAX:
        raise refuse(place, "too-long", f"is longer than {SPEC_BYTES_MAX} bytes")
    stood = None if was is None else was.spec
    digest = digest_of(master, workspace, name)
    spec, sealed = redacted(kind, document.spec, stood, place, digest)
    if isinstance(definition, WorkspaceSettings):
        spec = clocks.kept(spec, definition, was, at, place)
    if spec != document.spec:
        definition = parse_definition(kind, name, spec, pointer)
    return Change(
        kind=kind,
        name=name,
        spec=spec,
        definition=definition,
        pointer=place,
        was=was,
        diff=() if was is None else differences(was.spec, spec),
        sealed=sealed,
    )


def _check_world(
    workspace: str, changes: Mapping[Key, Change], standing: Mapping[Key, Standing]
) -> None:
    after: dict[Key, Definition | None] = {key: each.definition for key, each in standing.items()}
    after |= {key: each.definition for key, each in changes.items()}
    world = _world(workspace, after)
    faults = [
        fault
        for change in changes.values()
        for fault in check_against(change.definition, world, change.pointer)
    ]
    if faults:
        raise RefusedError(faults)
    _check_others(workspace, after, standing, apart_from=changes)


def _check_others(
    workspace: str,
    after: Mapping[Key, Definition | None],
    standing: Mapping[Key, Standing],
    *,
    apart_from: Mapping[Key, Change] | None = None,
) -> None:
    """Raise where a definition that is left as it is holds no longer, though it held before."""
    world = _world(workspace, after)
    before = _world(workspace, {key: each.definition for key, each in standing.items()})
    broken = [
        _of_other(each, fault)
        for key, each in standing.items()
        if each.definition is not None and key in after and key not in (apart_from or {})
        for fault in check_against(each.definition, world)
        if fault not in check_against(each.definition, before)
    ]
    if broken:
        raise BreaksOthersError(broken)


def _world(workspace: str, definitions: Mapping[Key, Definition | None]) -> CheckedWorld:
    return world_of(workspace, ((name, each) for (_, name), each in definitions.items()))


def _of_other(other: Standing, fault: Fault) -> Fault:
    """The fault of a definition that was not sent: its kind and name stand in the pointer."""
    return Fault(
        pointer=pointer_to("", "definitions", other.kind, other.name) + fault.pointer,
        code=fault.code,
        detail=f"{other.kind} {other.name} {fault.detail}",
    )
