"""Every revision of every definition, as the topic ``definitions`` tells them.

Guarantee: ``at`` answers the definitions in force at any revision read so far, however old:
corrections are judged by the revision of a fact's first version. Each definition is parsed once a
revision that changed it and shared by all snapshots; assembled snapshots are kept up to
``SNAPSHOTS_MAX`` and made again when asked for. Applying a record again changes nothing.

Not for use by several threads at once.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, TypeVar

from msgspec import Struct

from contracts.definitions import Definition, parse_definition
from contracts.definitions.distributions import Distribution
from contracts.definitions.endpoints import Endpoint
from contracts.definitions.event_types import EventType
from contracts.definitions.loyalty_programs import LoyaltyProgram
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import RevisionAheadError

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


class _History:
    """What one name stood for, revision after revision; None where it was deleted."""

    def __init__(self) -> None:
        self.revisions: list[int] = []
        self.values: list[Definition | None] = []

    def record(self, revision: int, definition: Definition | None) -> bool:
        """Note a change; False when this revision was noted before."""
        place = bisect_right(self.revisions, revision)
        if place and self.revisions[place - 1] == revision:
            return False
        self.revisions.insert(place, revision)
        self.values.insert(place, definition)
        return True

    def at(self, revision: int) -> Definition | None:
        place = bisect_right(self.revisions, revision)
        return self.values[place - 1] if place else None


class Catalogue:
    """The fold of the topic ``definitions``, for every workspace in it."""

    def __init__(self) -> None:
        self._histories: dict[str, dict[tuple[str, str], _History]] = {}
        self._latest: dict[str, int] = {}
        self._snapshots: OrderedDict[tuple[str, int], Snapshot] = OrderedDict()

    def apply(
        self, workspace: str, revision: int, kind: str, name: str, spec: object | None
    ) -> None:
        """Take in one record of the topic; ``spec`` None deletes.

        Raises:
            RefusedError: the spec is none that this code understands; nothing changed.
        """
        assert revision > 0, "revisions are counted from one"
        histories = self._histories.setdefault(workspace, {})
        history = histories.setdefault((kind, name), _History())
        if revision in history.revisions:
            return
        definition = None if spec is None else parse_definition(kind, name, spec)
        history.record(revision, definition)
        self._latest[workspace] = max(revision, self.latest_revision(workspace))
        for key in [key for key in self._snapshots if key[0] == workspace and key[1] >= revision]:
            del self._snapshots[key]

    def latest_revision(self, workspace: str) -> int:
        """The greatest revision read; 0 before any."""
        return self._latest.get(workspace, 0)

    def workspaces(self) -> frozenset[str]:
        """The workspaces that have a definition."""
        return frozenset(self._histories)

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
        snapshot = self._assemble(workspace, revision)
        self._snapshots[key] = snapshot
        if len(self._snapshots) > SNAPSHOTS_MAX:
            self._snapshots.popitem(last=False)
        return snapshot

    def _assemble(self, workspace: str, revision: int) -> Snapshot:
        histories = self._histories.get(workspace, {})
        in_force = [
            (name, definition)
            for (_, name), history in histories.items()
            if (definition := history.at(revision)) is not None
        ]
        settings = _of_kind(WorkspaceSettings, in_force)
        return Snapshot(
            workspace=workspace,
            revision=revision,
            workspace_settings=settings.get(workspace, WorkspaceSettings()),
            event_types=_of_kind(EventType, in_force),
            loyalty_programs=_of_kind(LoyaltyProgram, in_force),
            distributions=_of_kind(Distribution, in_force),
            endpoints=_of_kind(Endpoint, in_force),
        )


def _of_kind(
    kind: type[DefinitionT], in_force: list[tuple[str, Definition]]
) -> Mapping[str, DefinitionT]:
    return {name: each for name, each in in_force if isinstance(each, kind)}
