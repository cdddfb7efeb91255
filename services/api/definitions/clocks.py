"""The clock in a workspace's settings, as a value: what it shows is moved by no document. Pure."""

from datetime import datetime

from contracts.codec import JsonObject, encode
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import pointer_to, refuse
from services.api.definitions.standing import Standing


def shown(standing: Standing | None) -> datetime | None:
    """What the test clock shows in a workspace's settings as they stand; None on a system clock."""
    settings = None if standing is None else standing.definition
    return settings.clock_at if isinstance(settings, WorkspaceSettings) else None


def set_to(spec: JsonObject, at: datetime) -> JsonObject:
    """The spec with its test clock showing an instant."""
    return {**spec, "clock_at": encode(at).decode().strip('"')}


def kept(
    spec: JsonObject,
    settings: WorkspaceSettings,
    standing: Standing | None,
    at: datetime,
    pointer: str,
) -> JsonObject:
    """The spec with what its test clock showed before, or ``at`` where the clock is new.

    Raises:
        RefusedError: the document says that it shows something else.
    """
    if settings.clock == "system":
        return spec
    stood = shown(standing)
    if settings.clock_at not in (None, stood):
        detail = "is not what the clock shows: POST /v1/clock moves it"
        raise refuse(pointer_to(pointer, "clock_at"), "clock-moved", detail)
    if standing is None or stood is None:
        return set_to(spec, at)
    return {**spec, "clock_at": standing.spec["clock_at"]}
