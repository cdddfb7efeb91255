"""uvicorn's HTTP protocol with what it lacks: a deadline on receiving, and a bound on the head.

Guarantee: a connection whose next request does not arrive in time, has too long a head or is not
HTTP gets a problem document and is closed; so does one beyond ``CONNECTIONS_MAX``.
"""

import asyncio
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.bounds import CONNECTIONS_MAX, HEAD_BYTES_MAX, RECEIVE_SECONDS
from services.runtime import problems
from services.runtime.problems import Problem, new_request_id

_HEAD_TOO_LONG: Final = Problem(
    slug="head-too-long",
    title="The request's head is too long",
    status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    detail=f"At most {HEAD_BYTES_MAX} bytes of request line and headers are taken.",
)


class FrontDoorProtocol(HttpToolsProtocol):
    """One connection; a deadline runs from a request's first moment to the end of its body."""

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes: int = 0
    _in_head: bool = True
    _ended_request: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the clock of the first request."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._hang_up(problems.unavailable("Too many connections are open."))
        else:
            self._start_clock()

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
        """Start the clock of a request on a connection that is kept."""
        super().on_message_begin()
        if self._deadline is None:
            self._start_clock()

    def on_headers_complete(self) -> None:
        """Note that what follows is body."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock, and count the next head from nothing."""
        self._in_head, self._ended_request, self._head_bytes = True, True, 0
        self._stop_clock()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._hang_up(problems.malformed(msg))

    def _start_clock(self) -> None:
        self._deadline = self.loop.call_later(RECEIVE_SECONDS, self._is_late)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        self._deadline = None
        what = "headers" if self._in_head else "body"
        detail = f"The {what} did not arrive within {RECEIVE_SECONDS:.0f} seconds."
        under_way = None if self._in_head else self.cycle
        if under_way is not None:
            under_way.disconnected = True  # the application reads no further and answers nothing
            under_way.message_event.set()
            if under_way.response_started:
                self.transport.close()
                return
        self._hang_up(problems.request_timeout(detail))

    def _hang_up(self, problem: Problem) -> None:
        """Answer outside of any request, and close."""
        self._stop_clock()
        if self.transport.is_closing():
            return
        request_id = new_request_id()
        body = problems.encode(problem, request_id)
        headers = problems.problem_headers(problem, request_id)
        phrase = HTTPStatus(problem.status).phrase
        head = (
            f"HTTP/1.1 {problem.status} {phrase}\r\n"
            f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            + "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
