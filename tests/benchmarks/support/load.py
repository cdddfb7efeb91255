"""A load generator for HTTP/1.1 in a process of its own, cheaper than any server it drives.

One thread over epoll; connections are kept alive and each has one request under way (no
pipelining). Without a rate a connection sends again when it is answered (closed loop). With a
rate, requests have their instants whether or not answers came, and latency counts from that
instant, so that a server that stands still is not flattered.

`python -m tests.benchmarks.support.load` reads a `Plan` in msgpack on standard input and prints a
`Result` in JSON. `driven` runs it.
"""

import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence

import msgspec

RECEIVE_BYTES = 262_144
TAIL_SECONDS = 30.0  # answers still awaited after the last request; then they count as lost
STOP_SECONDS_MAX = 120.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        bodies: sent in this order, again from the first when all are sent.
        paths: one for each body, in place of ``path``.
        keys: the Idempotency-Key of each body.
        seconds: how long is measured, after ``warmup_seconds`` that are not.
        rate: requests a second in all; None: as fast as answers come.
        answered_at: report for each request when its answer came (for end-to-end latency).
    """

    port: int
    path: str
    bodies: list[bytes]
    paths: list[str] = []
    keys: list[str] = []
    headers: dict[str, str] = {}
    method: str = "POST"
    connections: int = 64
    warmup_seconds: float = 1.0
    seconds: float = 5.0
    rate: float | None = None
    answered_at: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        answered: answers within the measured window.
        statuses: how many answers of each status, the warm-up included; "lost": no answer.
        started_at, ended_at: of the measured window, CLOCK_MONOTONIC seconds.
        cpu_seconds: what the generator itself used in the window.
        answered_at: CLOCK_MONOTONIC seconds by index of the request sent; 0 where none came.
        refusal: the first answer that was not 2xx.
    """

    answered: int
    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    started_at: float
    ended_at: float
    cpu_seconds: float
    answered_at: list[float]
    refusal: str

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    @property
    def refused(self) -> int:
        return sum(n for status, n in self.statuses.items() if not status.startswith("2"))


class _Connection:
    __slots__ = ("index", "received", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TAIL_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0
        self.index = 0


class _Generator:
    """The state of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests = [_request(plan, number) for number in range(len(plan.bodies))]
        self.sent = 0
        self.statuses: dict[str, int] = {}
        self.refusal = ""
        self.latencies: list[float] = []
        self.answered_at: list[float] = []
        self.poll = select.epoll()
        self.by_descriptor: dict[int, _Connection] = {}
        for _ in range(plan.connections):
            connection = _Connection(plan.port)
            self.by_descriptor[connection.socket.fileno()] = connection
            self.poll.register(connection.socket.fileno(), select.EPOLLIN)

    def send(self, connection: _Connection, sent_at: float) -> None:
        connection.index = self.sent
        connection.sent_at = sent_at
        connection.socket.sendall(self.requests[self.sent % len(self.requests)])
        self.sent += 1
        if self.plan.answered_at:
            self.answered_at.append(0.0)

    def receive(self, connection: _Connection) -> bool:
        """Take what has come; True when the answer is whole."""
        chunk = connection.socket.recv(RECEIVE_BYTES)
        if not chunk:
            raise SystemExit("the server closed a connection that it was to keep")
        answer = connection.received + chunk if connection.received else chunk
        if not _whole(answer):
            connection.received = answer
            return False
        connection.received = b""
        now = time.monotonic()
        self.latencies.append(now - connection.sent_at)
        if self.plan.answered_at:
            self.answered_at[connection.index] = now
        status = answer[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status[0] != "2" and not self.refusal:
            self.refusal = answer[:1_000].decode(errors="replace")
        return True

    def closed_loop(self, until: float) -> float:
        """Keep every connection busy until the instant; the time at which the loop ended."""
        now = time.monotonic()
        while now < until:
            for descriptor, _ in self.poll.poll(1.0):
                connection = self.by_descriptor[descriptor]
                if self.receive(connection):
                    self.send(connection, time.monotonic())
            now = time.monotonic()
        return now

    def open_loop(self, until: float, rate: float) -> float:
        """Send at the rate's instants until the instant, over whichever connection is free."""
        idle = deque(self.by_descriptor.values())
        began = now = time.monotonic()
        due = 0
        while now < until:
            while idle and began + due / rate <= now:
                self.send(idle.popleft(), began + due / rate)
                due += 1
            wait = max(0.0, began + due / rate - now) if idle else 1.0
            for descriptor, _ in self.poll.poll(wait):
                connection = self.by_descriptor[descriptor]
                if self.receive(connection):
                    idle.append(connection)
            now = time.monotonic()
        return now

    def drain(self) -> None:
        """Await the answers still under way, at most TAIL_SECONDS."""
        deadline = time.monotonic() + TAIL_SECONDS
        while sum(self.statuses.values()) < self.sent and time.monotonic() < deadline:
            for descriptor, _ in self.poll.poll(1.0):
                self.receive(self.by_descriptor[descriptor])
        lost = self.sent - sum(self.statuses.values())
        if lost:
            self.statuses["lost"] = lost


def generated(plan: Plan) -> Result:
    """Carry the plan out in this process."""
    generator = _Generator(plan)
    if plan.rate is None:
        for connection in generator.by_descriptor.values():
            generator.send(connection, time.monotonic())
        generator.closed_loop(time.monotonic() + plan.warmup_seconds)
    else:
        generator.open_loop(time.monotonic() + plan.warmup_seconds, plan.rate)
        generator.drain()
    generator.latencies.clear()
    started_at, cpu_before = time.monotonic(), time.process_time()
    until = started_at + plan.seconds
    if plan.rate is None:
        ended_at = generator.closed_loop(until)
    else:
        ended_at = generator.open_loop(until, plan.rate)
    answered, cpu_seconds = len(generator.latencies), time.process_time() - cpu_before
    generator.drain()
    ordered = sorted(generator.latencies)
    return Result(
        answered=answered,
        seconds=ended_at - started_at,
        statuses=generator.statuses,
        p50_ms=quantile(ordered, 0.5) * 1000,
        p99_ms=quantile(ordered, 0.99) * 1000,
        max_ms=quantile(ordered, 1.0) * 1000,
        started_at=started_at,
        ended_at=ended_at,
        cpu_seconds=cpu_seconds,
        answered_at=generator.answered_at,
        refusal=generator.refusal,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ascending values that ``share`` of them do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -(-int(share * 1_000_000) * len(ordered) // 1_000_000) - 1)]


def _request(plan: Plan, number: int) -> bytes:
    body = plan.bodies[number]
    path = plan.paths[number] if plan.paths else plan.path
    headers = {"Host": f"127.0.0.1:{plan.port}", "Content-Length": str(len(body)), **plan.headers}
    if plan.keys:
        headers["Idempotency-Key"] = plan.keys[number]
    lines = [f"{plan.method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _whole(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise SystemExit(f"an answer without content-length: {head!r}")
    line_end = head.find(b"\r\n", at + 2)
    length = int(head[at + 17 : line_end if line_end > 0 else end])
    return len(answer) >= end + 4 + length


def main() -> None:
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(generated(plan)) + b"\n")


if __name__ == "__main__":
    main()
