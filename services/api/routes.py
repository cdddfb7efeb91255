"""What a route is: everything that routing, checks and the OpenAPI document need to know of it.

Guarantee: nothing about a route is said anywhere else.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from contracts.definitions.fields import Document
from services.runtime.access import Scope

if TYPE_CHECKING:
    from services.api.call import Call, Reply

Method = Literal["GET", "POST", "PUT", "DELETE"]
Form = Literal["text", "integer", "boolean", "time"]
ServedBy = Literal["api", "gateway"]
Projection = Literal["customers", "loyalty", "dispatcher"]
"""What may be waited for, rebuilt and compared."""

JSON: Final = "application/json"
YAML: Final = "application/yaml"
NDJSON: Final = "application/x-ndjson"
TEXT: Final = "text/plain"
EVENT_STREAM: Final = "text/event-stream"

BODY_BYTES_MAX: Final = 64 * 1024
"""Body of a request that carries one small document."""
APPLY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Body of an apply: some ten thousand definitions."""
TEXT_CHARS_MAX: Final = 1024
"""Longest value of a parameter that does not say otherwise."""


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of the query or a header; ``least`` and ``most`` bound an integer.

    ``pattern`` describes what the route itself checks; a blank one that ``blank_is_absent`` counts
    as not given.
    """

    name: str
    description: str
    form: Form = "text"
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 2**63 - 1
    chars_max: int = TEXT_CHARS_MAX
    pattern: str | None = None
    required: bool = False
    repeated: bool = False
    blank_is_absent: bool = False


class PathParam(msgspec.Struct, frozen=True, kw_only=True):
    """A ``{name}`` of the path: one segment, or what remains where the path says ``{name*}``."""

    name: str
    description: str
    example: str
    choices: tuple[str, ...] = ()


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a request carries. ``document`` checks it; None where the route reads it by itself."""

    description: str
    document: type[Document] | None = None
    schema: str | None = None
    media: tuple[str, ...] = (JSON,)
    bytes_max: int = BODY_BYTES_MAX
    required: bool = True


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What a success carries: ``kind`` is the type of its JSON body."""

    description: str
    kind: object = None
    status: int = 200
    media: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    ``scopes``: none means open to all; one is checked before the call; of several the call itself
    says which it needs. ``projection`` is the read model the route reads, for ``Upshot-Wait-For``.
    ``is_of_installation``: it is about every workspace, so keys of the installation's own alone.
    """

    method: Method
    path: str
    tag: str
    summary: str
    answers: Answers
    call: "Callable[[Call], Awaitable[Reply]] | None" = None
    scopes: tuple[Scope, ...] = ()
    path_params: tuple[PathParam, ...] = ()
    query: tuple[Param, ...] = ()
    headers: tuple[Param, ...] = ()
    body: Body | None = None
    problems: tuple[int, ...] = ()
    projection: Projection | None = None
    served_by: ServedBy = "api"
    is_of_installation: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it answers without a key."""
        return not self.scopes
