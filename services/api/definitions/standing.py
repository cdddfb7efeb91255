"""The definitions that stand in a workspace, read and compiled; and the world they make.

Guarantee: a revision never changes, so what it compiles to is kept by (workspace, revision). One
that this version does not understand is read all the same, without what it compiles to: it holds
up no other, and can be replaced or deleted.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, LiteralString

import msgspec

from contracts.codec import JsonObject
from contracts.definitions import Definition, parse_definition
from contracts.definitions.endpoints import Endpoint
from contracts.definitions.event_types import EventType
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import RefusedError
from services.api.definitions.stored import spec_of
from services.runtime.postgres import Session

COMPILED_MAX: Final = 5_000
"""Compiled definitions kept; one takes a few kilobytes."""

Key = tuple[str, str]
"""Kind and name."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A definition as it stands: the revision that last changed it, and what it says.

    ``definition`` is None where this version does not understand the spec.
    """

    kind: str
    name: str
    revision: int
    spec: JsonObject
    changed_at: datetime
    changed_by: str
    definition: Definition | None

    @property
    def key(self) -> Key:
        """What names it in its workspace."""
        return self.kind, self.name


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What definitions may refer to, by name."""

    workspace_settings: WorkspaceSettings
    event_types: Mapping[str, EventType]
    endpoints: Mapping[str, Endpoint]


def world_of(workspace: str, definitions: Iterable[tuple[str, Definition | None]]) -> World:
    """The world that named definitions make together."""
    settings = WorkspaceSettings()
    event_types: dict[str, EventType] = {}
    endpoints: dict[str, Endpoint] = {}
    for name, definition in definitions:
        match definition:
            case WorkspaceSettings() if name == workspace:
                settings = definition
            case EventType():
                event_types[name] = definition
            case Endpoint():
                endpoints[name] = definition
            case _:
                pass
    return World(workspace_settings=settings, event_types=event_types, endpoints=endpoints)


_LOAD: LiteralString = """
SELECT kind, name, revision, spec::text, created_at, created_by FROM (
    SELECT DISTINCT ON (kind, name) kind, name, revision, spec, created_at, created_by
    FROM upshot.definitions WHERE workspace = %s ORDER BY kind, name, revision DESC
) AS latest WHERE spec IS NOT NULL"""

_LOAD_ONE: LiteralString = """
SELECT kind, name, revision, spec::text, created_at, created_by FROM upshot.definitions
WHERE workspace = %s AND kind = %s AND name = %s ORDER BY revision DESC LIMIT 1"""


class Compiled:
    """Reads what stands, compiling each revision once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Definition] = OrderedDict()

    async def load(self, session: Session, workspace: str) -> dict[Key, Standing]:
        """Everything that stands in the workspace."""
        rows = await (await session.execute(_LOAD, (workspace,))).fetchall()
        found = [self._standing(workspace, row) for row in rows]
        return {each.key: each for each in found}

    async def load_one(
        self, session: Session, workspace: str, kind: str, name: str
    ) -> Standing | None:
        """One definition, or None where it does not stand."""
        row = await (await session.execute(_LOAD_ONE, (workspace, kind, name))).fetchone()
        return None if row is None or row[3] is None else self._standing(workspace, row)

    def _standing(self, workspace: str, row: tuple[object, ...]) -> Standing:
        kind, name, revision, text, changed_at, changed_by = row
        assert isinstance(kind, str) and isinstance(name, str) and isinstance(text, str)
        assert isinstance(revision, int) and isinstance(changed_by, str)
        assert isinstance(changed_at, datetime)
        spec = spec_of(text)
        definition = self._kept.get((workspace, revision))
        if definition is None:
            with suppress(RefusedError, ArithmeticError, RecursionError):
                definition = parse_definition(kind, name, spec)
                self._keep((workspace, revision), definition)
        return Standing(
            kind=kind,
            name=name,
            revision=revision,
            spec=spec,
            changed_at=changed_at,
            changed_by=changed_by,
            definition=definition,
        )

    def _keep(self, key: tuple[str, int], definition: Definition) -> None:
        self._kept[key] = definition
        if len(self._kept) > COMPILED_MAX:
            self._kept.popitem(last=False)
