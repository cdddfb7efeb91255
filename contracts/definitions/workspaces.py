"""``workspace``: the settings of a workspace."""

import re
import zoneinfo
from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Struct
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from contracts.definitions.fields import Document, ExactInstant, read_document
from contracts.errors import pointer_to, refuse

PII_FIELDS_MAX: Final = 300  # personal keys of one workspace's customers


_REGION: Final = re.compile(
    r"UTC|(?:Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Etc|Europe|Indian|Pacific)"
    r"(?:/[A-Za-z0-9_+\-]+){1,2}",
    re.ASCII,
)
"""Names of regions: a file of the system's own (``localtime``, ``right/…``) means another thing on
another machine, or counts leap seconds."""


def _timezone(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("type", "is not a string")
    try:
        found = _REGION.fullmatch(value) and zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        found = None
    if not found:
        raise PydanticCustomError("timezone", "is not an IANA time zone such as Europe/Warsaw")
    return value


class WorkspaceDocument(Document):
    """The document as ``PUT /v1/definitions/workspace/{name}`` takes it."""

    unknown_event_types: Literal["refuse", "allow"] = "refuse"
    timezone: Annotated[str, BeforeValidator(_timezone)] = "UTC"
    clock: Literal["system", "test"] = "system"
    clock_at: ExactInstant | None = None
    customer_pii: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=PII_FIELDS_MAX
    )


class WorkspaceSettings(Struct, frozen=True, kw_only=True):
    """A workspace's settings as processes use them; the defaults hold before any is written.

    ``clock_at`` is what a test clock shows at this revision. It stands wherever ``clock`` is
    ``test``, but for a client's own document, which may leave it out.
    """

    unknown_event_types: Literal["refuse", "allow"] = "refuse"
    timezone: str = "UTC"
    clock: Literal["system", "test"] = "system"
    clock_at: datetime | None = None
    customer_pii: frozenset[str] = frozenset()
    """Keys of customer metadata that the gateway seals."""


def parse_workspace(_name: str, spec: object, pointer: str = "") -> WorkspaceSettings:
    """Read a workspace's settings.

    Raises:
        RefusedError: with every fault.
    """
    document = read_document(WorkspaceDocument, spec, pointer)
    if document.clock_at is not None and document.clock == "system":
        place = pointer_to(pointer, "clock_at")
        raise refuse(place, "no-test-clock", "is of a test clock alone: clock is system")
    return WorkspaceSettings(
        unknown_event_types=document.unknown_event_types,
        timezone=document.timezone,
        clock=document.clock,
        clock_at=document.clock_at,
        customer_pii=frozenset(document.customer_pii),
    )
