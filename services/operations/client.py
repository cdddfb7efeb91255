"""HTTP to one front door with one key, a connection a call.

Guarantee: a call ends with the answer's body or an error whose text says what to do; it follows no
redirect and knows no proxy.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from typing import Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from services.operations.errors import CommandError, Problem, RefusedCallError, UnreachableError

T = TypeVar("T")

CALL_SECONDS: Final = 60.0
"""Between two bytes of an answer: above every deadline of the server's own."""
STREAM_SECONDS: Final = 60.0
"""Silence on a stream after which it is taken for broken: its server comments more often."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""A batch of 10,000 events, each refused with faults, answers less."""
LINE_BYTES_MAX: Final = 1024 * 1024
PAGE_ROWS: Final = 100

JSON: Final = "application/json"
YAML: Final = "application/yaml"
NDJSON: Final = "application/x-ndjson"

Query = Mapping[str, str | int | None]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of any list, its rows as they came."""

    data: list[msgspec.Raw]
    next_cursor: str | None = None


class Client:
    """Speaks to one front door."""

    def __init__(self, url: str, key: str, *, call_seconds: float = CALL_SECONDS) -> None:
        parts = urlsplit(url)
        self.url: Final = url.rstrip("/")
        self._prefix: Final = parts.path.rstrip("/")
        self._headers: Final = {"Authorization": f"Bearer {key}"}
        self._address: Final = (parts.scheme, parts.hostname or "", parts.port)
        self._seconds: Final = call_seconds

    def get(self, path: str, query: Query | None = None) -> bytes:
        """Read a resource; raises ``RefusedCallError`` or ``UnreachableError``."""
        return self.call("GET", target(path, query))

    def post(self, path: str, value: object = None) -> bytes:
        """Send a JSON document, or nothing; raises as ``get``."""
        body = b"" if value is None else msgspec.json.encode(value)
        return self.call("POST", path, body, JSON if body else None)

    def delete(self, path: str) -> bytes:
        """Delete a resource; raises as ``get``."""
        return self.call("DELETE", path)

    def rows(self, path: str, query: Query, limit: int | None) -> list[msgspec.Raw]:
        """Read a list, page by page, up to ``limit`` rows; raises as ``get``."""
        found: list[msgspec.Raw] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            wanted = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit - len(found))
            asked = {**query, "limit": wanted, "cursor": cursor}
            page = decoded(self.get(path, asked), Page)
            found += page.data
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    def call(self, method: str, path: str, body: bytes = b"", media: str | None = None) -> bytes:
        """Send a request; answers the body of a success.

        Args:
            method: as in the request line.
            path: with its query, escaped.
            body: empty for none.
            media: content type of the body.

        Raises:
            RefusedCallError: any status but 2xx.
            UnreachableError: nothing answered; whether the request arrived is not known.
        """
        headers = {**self._headers, **({"Content-Type": media} if media else {})}
        try:
            with closing(self._connect(self._seconds)) as connection:
                connection.request(method, self._prefix + path, body or None, headers)
                with connection.getresponse() as answer:
                    content = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        if not 200 <= answer.status < 300:  # noqa: PLR2004 - the class of successes
            raise _refusal(answer, content, self.url)
        return content

    def lines(self, path: str, headers: Mapping[str, str]) -> Generator[str]:
        """Read a stream line by line, on a connection of its own, until it ends.

        Raises:
            RefusedCallError: any status but 200.
            UnreachableError: nothing answered, or the stream broke off.
        """
        asked = {**self._headers, **headers}
        try:
            with closing(self._connect(STREAM_SECONDS)) as connection:
                connection.request("GET", self._prefix + path, None, asked)
                with connection.getresponse() as answer:
                    if answer.status != http.HTTPStatus.OK:
                        raise _refusal(answer, answer.read(ANSWER_BYTES_MAX), self.url)
                    while line := answer.readline(LINE_BYTES_MAX):
                        yield line.decode(errors="replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        scheme, host, port = self._address
        if scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
        return http.client.HTTPConnection(host, port, timeout=seconds)

    def _unreachable(self, error: Exception) -> UnreachableError:
        match error:
            case ConnectionRefusedError() | socket.gaierror():
                return UnreachableError(
                    f"Nothing answers at {self.url}. Start Upshot by `upshot run`, or name its "
                    "address by --url or UPSHOT_URL."
                )
            case TimeoutError():
                return UnreachableError(
                    f"{self.url} did not answer in {self._seconds:g} s. Look at the logs of the "
                    "gateway and the api, and try again."
                )
            case _:
                said = str(error) or type(error).__name__
                return UnreachableError(
                    f"The answer of {self.url} broke off ({said}). Try again in a moment."
                )


def target(path: str, query: Query | None = None) -> str:
    """Spell a path with those parameters of the query that have a value."""
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(asked)}" if asked else path


def segment(text: str) -> str:
    """Escape one segment of a path."""
    return quote(text, safe="")


def decoded(content: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Read an answer; raises ``CommandError`` where it has another shape."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        msg = f"The answer is not of the expected form ({error}). Is --url Upshot's front door?"
        raise CommandError(msg) from error


def decoded_rows(rows: Iterable[msgspec.Raw], kind: type[T]) -> list[T]:
    """Read the rows of a list; raises as ``decoded``."""
    return [decoded(row, kind) for row in rows]


def _refusal(answer: http.client.HTTPResponse, content: bytes, url: str) -> CommandError:
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return CommandError(
            f"{url} answered {answer.status} and no problem document. Is it Upshot's front door?"
        )
    wait = answer.getheader("Retry-After", "")
    return RefusedCallError(problem, float(wait) if wait.isdecimal() else None)
