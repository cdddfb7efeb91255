"""uvicorn's HTTP protocol with what it lacks: deadlines and bounds on a request's head.

Guarantee: a connection whose next head does not arrive in time, is too long or is not HTTP gets a
problem document and is closed.
"""

import asyncio
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.bounds import HEAD_BYTES_MAX, HEAD_SECONDS
from services.runtime import problems
from services.runtime.problems import Problem, new_request_id

_HEAD_TOO_LONG: Final = Problem(
    slug="head-too-long",
    title="The request's head is too long",
    status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    detail=f"At most {HEAD_BYTES_MAX} bytes of request line and headers are taken.",
)


class FrontDoorProtocol(HttpToolsProtocol):
    """One connection."""

    _head_deadline: asyncio.TimerHandle | None = None
    _head_bytes: int = 0
    _in_head: bool = True
    _ended_request: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not complete."""
        self._ended_request = False
        super().data_received(data)
        if self._in_head and not self._ended_request and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._hang_up(_HEAD_TOO_LONG)

    def on_message_begin(self) -> None:
        """Start the clock of a head on a connection that is kept."""
        super().on_message_begin()
        if self._head_deadline is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop_clock()
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count the next head from nothing."""
        self._in_head, self._ended_request, self._head_bytes = True, True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._hang_up(problems.malformed(msg))

    def _expect_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_clock(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_is_late(self) -> None:
        self._head_deadline = None
        detail = f"The headers did not arrive within {HEAD_SECONDS:.0f} seconds."
        self._hang_up(problems.request_timeout(detail))

    def _hang_up(self, problem: Problem) -> None:
        """Answer outside of any request, and close."""
        self._stop_clock()
        if self.transport.is_closing():
            return
        request_id = new_request_id()
        body = problems.encode(problem, request_id)
        phrase = HTTPStatus(problem.status).phrase
        head = (
            f"HTTP/1.1 {problem.status} {phrase}\r\n"
            f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"{problems.REQUEST_ID_HEADER}: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
