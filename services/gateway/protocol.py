"""uvicorn's HTTP protocol with what it lacks: deadlines, a bound on the head, answers in one write.

Guarantee: a connection whose next request does not arrive in time, has too long a head or is not
HTTP gets a problem document and is closed; so does one beyond ``CONNECTIONS_MAX``.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.gateway.bounds import CONNECTIONS_MAX, HEAD_BYTES_MAX, RECEIVE_SECONDS
from services.gateway.replies import WHOLE_REPLY, Reply, problem_reply, spelled
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
    _is_receiving: bool = False
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
        """Count what belongs to a head that is not complete, and start or stop the clock."""
        self._ended_request = False
        super().data_received(data)
        if self._in_head and not self._ended_request and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._hang_up(_HEAD_TOO_LONG)
        if self._is_receiving:
            if self._deadline is None and not self.transport.is_closing():
                self._start_clock()
        elif self._ended_request:
            self._stop_clock()

    def on_message_begin(self) -> None:
        """Note that a request has begun; one that ends in the same data needs no clock."""
        super().on_message_begin()
        self._is_receiving = True

    def on_headers_complete(self) -> None:
        """Note that what follows is body."""
        self._in_head = False
        super().on_headers_complete()
        whole: dict[object, object] = {"send": partial(_send_whole, self.cycle)}
        self.scope["extensions"] = {WHOLE_REPLY: whole}

    def on_message_complete(self) -> None:
        """Count the next head from nothing."""
        self._in_head, self._ended_request, self._head_bytes = True, True, 0
        self._is_receiving = False
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
        reply = problem_reply(problem, request_id, {})
        self.transport.write(spelled(reply, request_id, closing=True) + reply.body)
        self.transport.close()


async def _send_whole(cycle: RequestResponseCycle, reply: Reply, request_id: str) -> None:
    """Send a request's answer in one write: each write is a system call, and wakes the client."""
    assert not cycle.response_started, "a request is answered once"
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    cycle.response_started = cycle.response_complete = True
    head = spelled(reply, request_id, closing=not cycle.keep_alive)
    cycle.transport.write(head if cycle.scope["method"] == "HEAD" else head + reply.body)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
