"""A webhook endpoint in a process of its own: answers 200 and remembers when each message came.

A message is told by the number after `"serial":` in its body. On SIGTERM it prints a `Receipts`
in JSON and ends. Argument: port.
"""

import select
import signal
import socket
import sys
import time
from types import FrameType

import msgspec

SERIAL = b'"serial":'
RECEIVE_BYTES = 262_144
BACKLOG = 1_024
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Receipts(msgspec.Struct, frozen=True, kw_only=True):
    """What came.

    Attributes:
        requests: all of them, repeated deliveries too.
        received_at: CLOCK_MONOTONIC seconds of the first delivery, by serial.
    """

    requests: int
    received_at: dict[int, float]


class Endpoint:
    """The listening socket, its connections, and what came over them."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self.poll = select.epoll()
        self.poll.register(self.listener.fileno(), select.EPOLLIN)
        self.connections: dict[int, socket.socket] = {}
        self.received: dict[int, bytes] = {}
        self.requests = 0
        self.received_at: dict[int, float] = {}
        self.stopping = False

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def serve(self) -> Receipts:
        """Answer until told to stop."""
        while not self.stopping:
            for descriptor, _ in self.poll.poll(0.1):
                if descriptor == self.listener.fileno():
                    self._accept()
                else:
                    self._take(descriptor)
        return Receipts(requests=self.requests, received_at=self.received_at)

    def _accept(self) -> None:
        accepted, _ = self.listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections[accepted.fileno()] = accepted
        self.received[accepted.fileno()] = b""
        self.poll.register(accepted.fileno(), select.EPOLLIN)

    def _take(self, descriptor: int) -> None:
        connection = self.connections[descriptor]
        try:
            chunk = connection.recv(RECEIVE_BYTES)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            self.connections.pop(descriptor).close()
            del self.received[descriptor]
            return
        waiting = self.received[descriptor] + chunk
        while (length := _request_bytes(waiting)) is not None:
            self._note(waiting[:length])
            waiting = waiting[length:]
            connection.sendall(ANSWER)
        self.received[descriptor] = waiting

    def _note(self, request: bytes) -> None:
        self.requests += 1
        at = request.rfind(SERIAL)
        if at >= 0:
            digits = request[at + len(SERIAL) : at + len(SERIAL) + 20].lstrip()
            serial = int(digits[: _digits(digits)])
            self.received_at.setdefault(serial, time.monotonic())


def _digits(text: bytes) -> int:
    return len(text) - len(text.lstrip(b"0123456789"))


def _request_bytes(text: bytes) -> int | None:
    """Bytes of the first request in ``text`` when it is whole."""
    end = text.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = text[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return end + 4
    line = head[at + 17 :].partition(b"\r\n")[0]
    whole = end + 4 + int(line)
    return whole if len(text) >= whole else None


def main() -> None:
    endpoint = Endpoint(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, endpoint.stop)
    receipts = endpoint.serve()
    sys.stdout.buffer.write(msgspec.json.encode(receipts) + b"\n")


if __name__ == "__main__":
    main()
