"""Room at endpoints: what may be claimed, what may start, and when to look again. No I/O.

Guarantee: attempts running at an endpoint never exceed its ``concurrency``. What is claimed ahead
of them is what the endpoint took lately in a moment, and is given back when it does not take it
after all, long before its lease ends.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from contracts.definitions.endpoints import Endpoint
from services.dispatcher.claims import LEASE_SECONDS, Claimed, Exchange, Settlement, Want
from services.dispatcher.deliveries import EndpointKey

AHEAD_SECONDS: Final = 0.1
"""How long a lane may go on without Postgres: several transactions of the sender."""
AHEAD_MAX: Final = 500
"""Deliveries claimed ahead at one endpoint; with bodies of 64 KiB, 32 MB."""
START_SECONDS_MAX: Final = LEASE_SECONDS / 4
"""A claimed delivery that has not started by then is given back."""
MEMORY: Final = 0.9
"""Weight of the past in an endpoint's mean duration of an attempt."""

EndpointLookup = Callable[[EndpointKey], Endpoint | None]


class _Lane:
    """One endpoint's: what runs, what waits, and from when there may be more to claim."""

    def __init__(self) -> None:
        self.running: int = 0
        self.waiting: deque[tuple[float, Claimed]] = deque()
        self.hungry_at: float = inf
        self.attempt_seconds: float | None = None

    def room(self, endpoint: Endpoint) -> int:
        """Count what may still be claimed; at a limited rate nothing is claimed ahead."""
        return endpoint.concurrency + self._ahead(endpoint) - self.running - len(self.waiting)

    def _ahead(self, endpoint: Endpoint) -> int:
        if endpoint.rate_per_second is not None or self.attempt_seconds is None:
            return 0
        return int(min(AHEAD_MAX, endpoint.concurrency * AHEAD_SECONDS / self.attempt_seconds))


class Lanes:
    """All endpoints that have anything due; times are seconds of one monotonic clock."""

    def __init__(self, endpoints: EndpointLookup) -> None:
        self._endpoints = endpoints
        self._lanes: dict[EndpointKey, _Lane] = {}

    def announce(self, endpoints: Iterable[EndpointKey], at: float) -> None:
        """Note that deliveries of these endpoints may be due from ``at`` on."""
        for key in endpoints:
            lane = self._lanes.setdefault(key, _Lane())
            lane.hungry_at = min(lane.hungry_at, at)

    def wants(self, now: float) -> list[Want]:
        """Say what is to be claimed; each answer must be followed by ``take`` or ``announce``."""
        wants: list[Want] = []
        for key, lane in self._lanes.items():
            if lane.hungry_at > now:
                continue
            endpoint = self._endpoints(key)
            count = 0 if endpoint is None else lane.room(endpoint)
            if endpoint is None or count > 0:
                lane.hungry_at = inf  # what is announced from now on counts again
            if endpoint is not None and count > 0:
                rate = endpoint.rate_per_second
                wants.append(
                    Want(
                        endpoint=key,
                        count=count,
                        is_ordered=endpoint.ordered,
                        rate_per_second=None if rate is None else float(rate),
                    )
                )
        return wants

    def take(self, done: Exchange, settled: Iterable[Settlement], now: float) -> None:
        """Take in what a transaction gave."""
        self.announce(done.more, now)
        for key, wait_seconds in done.slow.items():
            self.announce((key,), now + wait_seconds)
        for claimed in done.claimed:
            self._lanes[claimed.endpoint].waiting.append((now, claimed))
        for each in settled:
            if each.state == "pending":
                self.announce((each.endpoint,), now + each.wait_seconds)
        self._forget_idle()

    def start(self, key: EndpointKey) -> list[Claimed]:
        """Take out what may start at an endpoint now; each must be reported to ``finish``."""
        lane, endpoint = self._lanes[key], self._endpoints(key)
        most = 1 if endpoint is None else endpoint.concurrency
        started: list[Claimed] = []
        while lane.waiting and lane.running < most:
            lane.running += 1
            started.append(lane.waiting.popleft()[1])
        return started

    def finish(self, key: EndpointKey, attempt_seconds: float) -> None:
        """Note that an attempt at an endpoint ended."""
        lane = self._lanes[key]
        assert lane.running > 0, "only what was started ends"
        lane.running -= 1
        known = lane.attempt_seconds
        mean = attempt_seconds if known is None else MEMORY * known + (1 - MEMORY) * attempt_seconds
        lane.attempt_seconds = max(mean, 1e-4)

    def take_back(self, now: float) -> list[Claimed]:
        """Take out what has waited so long that its endpoint must have become slow."""
        late: list[Claimed] = []
        for lane in self._lanes.values():
            while lane.waiting and now - lane.waiting[0][0] > START_SECONDS_MAX:
                late.append(lane.waiting.popleft()[1])
        return late

    def next_look(self) -> float:
        """Say when there may be something to claim, at an endpoint with room."""
        return min(
            (
                lane.hungry_at
                for key, lane in self._lanes.items()
                if lane.hungry_at < inf
                and ((endpoint := self._endpoints(key)) is None or lane.room(endpoint) > 0)
            ),
            default=inf,
        )

    def _forget_idle(self) -> None:
        idle = [
            key
            for key, lane in self._lanes.items()
            if not lane.running and not lane.waiting and lane.hungry_at == inf
        ]
        for key in idle:
            del self._lanes[key]
