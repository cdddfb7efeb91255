"""Answers as they go out: whole, in one write, or begun by an ASGI message."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from services.runtime import problems
from services.runtime.problems import Problem

JSON: Final = b"application/json"
_PROBLEM: Final = problems.MEDIA_TYPE.encode()
_REQUEST_ID: Final = problems.REQUEST_ID_HEADER.encode()

WHOLE_REPLY: Final = "upshot.whole_reply"
"""Extension of a request's scope: ``send`` is a ``SendWhole``."""


class Reply(Struct, frozen=True, kw_only=True, gc=False):
    """An answer; ``headers`` besides type, length and request id."""

    body: bytes
    status: int = 200
    media: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


SendWhole = Callable[[Reply, str], Awaitable[None]]
"""Sends an answer with its request id, head and body in one write."""


def problem_reply(problem: Problem, request_id: str, headers: Mapping[str, str]) -> Reply:
    """A problem as an answer, with further headers."""
    own = {**problems.problem_headers(problem, request_id), **headers}
    return Reply(
        body=problems.encode(problem, request_id),
        status=problem.status,
        media=_PROBLEM,
        headers=tuple(
            (name.encode(), value.encode())
            for name, value in own.items()
            if name != problems.REQUEST_ID_HEADER
        ),
    )


def head(reply: Reply, request_id: str, *, closing: bool = False) -> dict[str, object]:
    """The message that starts an answer; ``closing`` announces the end of the connection."""
    headers = [
        (b"content-type", reply.media),
        (b"content-length", b"%d" % len(reply.body)),
        (_REQUEST_ID, request_id.encode()),
        *reply.headers,
    ]
    if closing:
        headers.append((b"connection", b"close"))
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


def spelled(reply: Reply, request_id: str, *, closing: bool = False) -> bytes:
    """The head of an answer in HTTP/1.1, up to the blank line before its body."""
    further = [b"%b: %b\r\n" % header for header in reply.headers]
    if closing:
        further.append(b"connection: close\r\n")
    return (
        b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n"
        % (
            _STATUSES[reply.status],
            reply.media,
            len(reply.body),
            request_id.encode(),
            b"".join(further),
        )
    )


_STATUSES: Final = {each.value: f"{each.value} {each.phrase}".encode() for each in HTTPStatus}
