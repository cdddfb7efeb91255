"""One request on its way through a route: what was asked, by whom, and what to answer.

Guarantee: the parameters a call sees were checked against the route's own table.
"""

import base64
import binascii
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

import msgspec

from contracts.codec import Json, decode_json, encode
from contracts.definitions.fields import Document, read_document
from contracts.errors import refuse
from services.api.json_text import read_json
from services.api.routes import JSON, Param, Route
from services.runtime.access import Access, Scope
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, forbidden, not_found

if TYPE_CHECKING:
    from services.api.state import Api

NO_CONTENT: Final = 204
LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
"""Rows of one page of a list."""

CURSOR: Final = Param(
    name="cursor",
    description="`next_cursor` of the page before; blank for the first.",
    chars_max=2048,
    blank_is_absent=True,
)
LIMIT: Final = Param(
    name="limit",
    description=f"Rows of a page; {LIMIT_DEFAULT} when absent.",
    form="integer",
    least=1,
    most=LIMIT_MAX,
)

Value = str | int | bool | datetime | tuple[str, ...]
DocumentT = TypeVar("DocumentT", bound=Document)
Row = TypeVar("Row")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: ``value`` is encoded as JSON, unless ``raw`` or ``stream`` stands."""

    value: object = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    media: str = JSON
    raw: bytes | None = None
    stream: AsyncGenerator[bytes] | None = None

    def body(self) -> bytes:
        """The bytes of an answer that is not a stream; 204 has none."""
        if self.raw is not None:
            return self.raw
        return b"" if self.status == NO_CONTENT else encode(self.value)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request that a route answers. ``access`` stands on every route that is not open."""

    api: "Api"
    route: Route
    request_id: str
    started_at: datetime
    access: Access | None
    path: Mapping[str, str]
    values: Mapping[str, Value]
    media: str
    content: bytes

    @property
    def holder(self) -> Access:
        """Whose key it is."""
        assert self.access is not None, "a route with scopes is called with a key"
        return self.access

    @property
    def workspace(self) -> str:
        """Workspace of the key: the only one the call sees."""
        return self.holder.workspace

    def require(self, scope: Scope) -> None:
        """Raise ``ProblemError`` 403 naming the scope when the key lacks it."""
        if not self.holder.allows(scope):
            raise ProblemError(forbidden(scope))

    def text(self, name: str) -> str | None:
        """A text parameter as given."""
        value = self.values.get(name)
        assert value is None or isinstance(value, str), f"{name} is text in the route's table"
        return value

    def number(self, name: str, default: int) -> int:
        """An integer parameter."""
        value = self.values.get(name, default)
        assert isinstance(value, int), f"{name} is an integer in the route's table"
        return value

    def flag(self, name: str) -> bool:
        """A boolean parameter, false when absent."""
        return self.values.get(name) is True

    def time(self, name: str) -> datetime | None:
        """A time parameter, aware."""
        value = self.values.get(name)
        assert value is None or isinstance(value, datetime), f"{name} is a time in the table"
        return value

    def limit(self) -> int:
        """Rows of the page that is asked for."""
        return self.number("limit", LIMIT_DEFAULT)

    def json(self) -> Json:
        """The body as JSON; raises ``RefusedError``."""
        return read_json(self.content)

    def document(self, kind: type[DocumentT]) -> DocumentT:
        """The body checked against a document's fields; raises ``RefusedError``."""
        return read_document(kind, self.json(), "")

    def session(self) -> AbstractAsyncContextManager[Session]:
        """A session of the pool for the block; driver errors come out translated."""
        return self.api.session()


class Page(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """One page of a list, and where to go on (None at the end)."""

    data: Sequence[Row]
    next_cursor: str | None
    object: Literal["list"] = "list"


def page(rows: Sequence[Row], next_cursor: str | None = None) -> Reply:
    """A list as every list is answered."""
    return Reply(value=Page(data=rows, next_cursor=next_cursor))


def page_of(
    rows: Sequence[Row], limit: int, place: Callable[[Row], tuple[str | int, ...]]
) -> Reply:
    """The first ``limit`` rows; where one more was read, the place of the last to go on behind."""
    if len(rows) <= limit:
        return page(rows)
    return page(rows[:limit], write_cursor(*place(rows[limit - 1])))


def write_cursor(*parts: str | int) -> str:
    """Spell where a page ended as an opaque text."""
    return base64.urlsafe_b64encode(encode(parts)).rstrip(b"=").decode()


def read_cursor(text: str, *kinds: type[str] | type[int]) -> tuple[str | int, ...]:
    """Read where a page ended; raises ``RefusedError`` unless it has exactly these parts."""
    wrong = refuse("/query/cursor", "cursor", "is not a next_cursor of this list")
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = decode_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise wrong from error
    if not isinstance(parts, list) or len(parts) != len(kinds):
        raise wrong
    found: list[str | int] = []
    for part, kind in zip(parts, kinds, strict=True):
        if type(part) is not kind or not isinstance(part, str | int):
            raise wrong
        if (isinstance(part, int) and abs(part) >= 2**63) or (
            isinstance(part, str) and "\0" in part
        ):
            raise wrong
        found.append(part)
    return tuple(found)


def read_instant(text: str) -> datetime:
    """Read the instant in a cursor; raises ``RefusedError`` where somebody changed it."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise refuse("/query/cursor", "cursor", "is not a next_cursor of this list") from error
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def missing(what: str) -> ProblemError:
    """404 of a thing that does not exist in this workspace."""
    return ProblemError(not_found(f"There is no {what} in this workspace."))
