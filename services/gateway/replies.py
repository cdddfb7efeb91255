"""Answers as they go out: a status, headers and a body in one or two ASGI messages."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from starlette.types import Send

from services.runtime import problems
from services.runtime.problems import Problem

JSON: Final = b"application/json"
_PROBLEM: Final = problems.MEDIA_TYPE.encode()
_REQUEST_ID: Final = problems.REQUEST_ID_HEADER.encode()


class Reply(Struct, frozen=True, kw_only=True, gc=False):
    """An answer; ``headers`` besides type, length and request id."""

    body: bytes
    status: int = 200
    media: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


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


async def send_reply(send: Send, reply: Reply, request_id: str) -> None:
    """Send an answer."""
    await send(head(reply, request_id))
    await send({"type": "http.response.body", "body": reply.body})
