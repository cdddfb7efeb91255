"""What is answered of definitions."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from services.api.definitions.differences import Difference


class DefinitionView(msgspec.Struct, frozen=True, kw_only=True):
    """A definition as it stands; write-only values show their digests.

    ``secret`` is answered once, where it was generated.
    """

    kind: str
    name: str
    revision: int
    spec: dict[str, object] | None
    updated_at: datetime
    updated_by: str
    object: str = "definition"
    secret: str | UnsetType = UNSET


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that an apply made; ``secret`` as for a single one."""

    kind: str
    name: str
    secret: str | UnsetType = UNSET


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that an apply changed, and what differs."""

    kind: str
    name: str
    diff: tuple[Difference, ...]
    secret: str | UnsetType = UNSET


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A definition by its name."""

    kind: str
    name: str


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply did, or would do; ``revision`` is the workspace's after it."""

    revision: int
    created: list[Created]
    changed: list[Changed]
    unchanged: list[Named]
    dry_run: bool


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that stands no longer, by which revision."""

    kind: str
    name: str
    revision: int
    deleted: bool = True
