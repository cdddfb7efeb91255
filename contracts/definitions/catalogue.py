"""Every revision of every definition, as the topic ``definitions`` tells them.

Guarantee: ``at`` answers the definitions in force at any revision read so far, however old:
corrections are judged by the revision of a fact's first version. Each definition is parsed once a
revision that changed it and shared by all snapshots; assembled snapshots are kept up to
``SNAPSHOTS_MAX`` and made again when asked for. Applying a record again changes nothing.

Not for use by several threads at once.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from msgspec import Struct

from contracts.definitions import Definition, parse_definition
from contracts.definitions.distributions import Distribution
from contracts.definitions.endpoints import Endpoint
from contracts.definitions.event_types import EventType
from contracts.definitions.loyalty_programs import LoyaltyProgram
from contracts.definitions.names import Kind
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import RevisionAheadError, refuse

SNAPSHOTS_MAX: Final = 64  # assembled snapshots kept; corrections of old facts are rare

DefinitionT = TypeVar("DefinitionT", bound=Definition)


class Snapshot(Struct, frozen=True, kw_only=True):
    """The definitions of one workspace in force at one revision, by name."""

    workspace: str
    revision: int
    workspace_settings: WorkspaceSettings
    event_types: Mapping[str, EventType]
    loyalty_programs: Mapping[str, LoyaltyProgram]
    distributions: Mapping[str, Distribution]
    endpoints: Mapping[str, Endpoint]


class _History(Generic[DefinitionT]):
    """What one name stood for, revision after revision; None where it was deleted."""

    def __init__(self) -> None:
        self._revisions: list[int] = []
        self._values: list[DefinitionT | None] = []

    def has(self, revision: int) -> bool:
        """True when the change of this revision was noted."""
        place = bisect_left(self._revisions, revision)
        return place < len(self._revisions) and self._revisions[place] == revision

    def note(self, revision: int, definition: DefinitionT | None) -> None:
        """Note what a revision made of the name."""
        place = bisect_left(self._revisions, revision)
        self._revisions.insert(place, revision)
        self._values.insert(place, definition)

    def at(self, revision: int) -> DefinitionT | None:
        """What the name stood for at a revision."""
        place = bisect_right(self._revisions, revision)
        return self._values[place - 1] if place else None


class _Table(Generic[DefinitionT]):
    """The definitions of one kind in one workspace."""

    def __init__(self, kind: Kind, form: type[DefinitionT]) -> None:
        self._kind: Kind = kind
        self._form: type[DefinitionT] = form
        self._histories: dict[str, _History[DefinitionT]] = {}
        self._changed_at: list[int] = []
        self._assembled: OrderedDict[int, Mapping[str, DefinitionT]] = OrderedDict()

    def apply(self, revision: int, name: str, spec: object | None) -> None:
        """Take in one change; the same one again changes nothing."""
        history = self._histories.get(name, _History())
        if history.has(revision):
            return
        definition = None if spec is None else parse_definition(self._kind, name, spec)
        assert definition is None or isinstance(definition, self._form), "a kind has one form"
        history.note(revision, definition)
        self._histories[name] = history
        insort(self._changed_at, revision)
        self._assembled.clear()

    def at(self, revision: int) -> Mapping[str, DefinitionT]:
        """What was in force; the same object for all revisions between two changes."""
        place = bisect_right(self._changed_at, revision)
        if place == 0:
            return {}
        changed_at = self._changed_at[place - 1]
        found = self._assembled.get(changed_at)
        if found is None:
            found = {
                name: definition
                for name, history in self._histories.items()
                if (definition := history.at(changed_at)) is not None
            }
            self._assembled[changed_at] = found
            if len(self._assembled) > SNAPSHOTS_MAX:
                self._assembled.popitem(last=False)
        return found


class _Workspace:
    """One workspace's definitions, a table a kind."""

    def __init__(self, name: str) -> None:
        self.latest_revision: int = 0
        self._name: str = name
        self._settings = _Table("workspace", WorkspaceSettings)
        self._event_types = _Table("event_type", EventType)
        self._loyalty_programs = _Table("loyalty_program", LoyaltyProgram)
        self._distributions = _Table("distribution", Distribution)
        self._endpoints = _Table("endpoint", Endpoint)
        self._tables = {
            "workspace": self._settings,
            "event_type": self._event_types,
            "loyalty_program": self._loyalty_programs,
            "distribution": self._distributions,
            "endpoint": self._endpoints,
        }

    def apply(self, revision: int, kind: str, name: str, spec: object | None) -> None:
        """Take in one change of any kind."""
        table = self._tables.get(kind)
        if table is None:
            raise refuse("/kind", "kind-unknown", f"{kind} is no kind that this process knows")
        table.apply(revision, name, spec)
        self.latest_revision = max(revision, self.latest_revision)

    def at(self, revision: int) -> Snapshot:
        """Assemble what was in force at a revision."""
        return Snapshot(
            workspace=self._name,
            revision=revision,
            workspace_settings=self._settings.at(revision).get(self._name, WorkspaceSettings()),
            event_types=self._event_types.at(revision),
            loyalty_programs=self._loyalty_programs.at(revision),
            distributions=self._distributions.at(revision),
            endpoints=self._endpoints.at(revision),
        )


class Catalogue:
    """The fold of the topic ``definitions``, for every workspace in it."""

    def __init__(self) -> None:
        self._workspaces: dict[str, _Workspace] = {}
        self._snapshots: OrderedDict[tuple[str, int], Snapshot] = OrderedDict()

    def apply(
        self, workspace: str, revision: int, kind: str, name: str, spec: object | None
    ) -> None:
        """Take in one record of the topic; ``spec`` None deletes.

        Raises:
            RefusedError: the spec is none that this code understands; nothing changed.
        """
        assert revision > 0, "revisions are counted from one"
        held = self._workspaces.get(workspace) or _Workspace(workspace)
        held.apply(revision, kind, name, spec)
        self._workspaces[workspace] = held
        for key in [key for key in self._snapshots if key[0] == workspace and key[1] >= revision]:
            del self._snapshots[key]

    def latest_revision(self, workspace: str) -> int:
        """The greatest revision read; 0 before any."""
        held = self._workspaces.get(workspace)
        return 0 if held is None else held.latest_revision

    def workspaces(self) -> frozenset[str]:
        """The workspaces that have a definition."""
        return frozenset(self._workspaces)

    def latest(self, workspace: str) -> Snapshot:
        """What is in force now; of an unknown workspace, nothing at revision 0."""
        return self.at(workspace, self.latest_revision(workspace))

    def at(self, workspace: str, revision: int) -> Snapshot:
        """What was in force at ``revision``.

        Raises:
            RevisionAheadError: the revision has not been read yet.
        """
        key = (workspace, revision)
        found = self._snapshots.get(key)
        if found is not None:
            self._snapshots.move_to_end(key)
            return found
        known = self.latest_revision(workspace)
        if revision > known:
            raise RevisionAheadError(workspace=workspace, revision=revision, known=known)
        snapshot = (self._workspaces.get(workspace) or _Workspace(workspace)).at(revision)
        self._snapshots[key] = snapshot
        if len(self._snapshots) > SNAPSHOTS_MAX:
            self._snapshots.popitem(last=False)
        return snapshot
