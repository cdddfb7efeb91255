"""Room at endpoints: what may be claimed, what may start, and when to look again. No I/O.

Guarantee: attempts running at an endpoint never exceed its ``concurrency``; what is claimed ahead
of them never exceeds ``AHEAD`` times that, and is let go before its lease could end under it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from contracts.definitions.endpoints import Endpoint
from services.dispatcher.claims import LEASE_SECONDS, Claimed, Exchange, Settlement, Want
from services.dispatcher.deliveries import EndpointKey

AHEAD: Final = 1
"""Claimed and waiting, as a multiple of concurrency: the next starts without asking Postgres."""
START_SECONDS_MAX: Final = LEASE_SECONDS - 30
"""A claimed delivery that has not started by then is left to its lease."""

EndpointLookup = Callable[[EndpointKey], Endpoint | None]


class _Lane:
    """One endpoint's: what runs, what waits, and from when there may be more to claim."""

    def __init__(self) -> None:
        self.running: int = 0
        self.waiting: deque[tuple[float, Claimed]] = deque()
        self.hungry_at: float = inf


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
            count = 0 if endpoint is None else _room(lane, endpoint)
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

    def start(self, key: EndpointKey, now: float) -> list[Claimed]:
        """Take out what may start at an endpoint now; each must be reported to ``finish``."""
        lane, endpoint = self._lanes[key], self._endpoints(key)
        most = 1 if endpoint is None else endpoint.concurrency
        started: list[Claimed] = []
        while lane.waiting and lane.running < most:
            claimed_at, claimed = lane.waiting.popleft()
            if now - claimed_at <= START_SECONDS_MAX:
                lane.running += 1
                started.append(claimed)
        return started

    def finish(self, key: EndpointKey) -> None:
        """Note that an attempt at an endpoint ended."""
        lane = self._lanes[key]
        assert lane.running > 0, "only what was started ends"
        lane.running -= 1

    def next_look(self) -> float:
        """Say when there may be something to claim, at an endpoint with room."""
        return min(
            (
                lane.hungry_at
                for key, lane in self._lanes.items()
                if lane.hungry_at < inf
                and ((endpoint := self._endpoints(key)) is None or _room(lane, endpoint) > 0)
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


def _room(lane: _Lane, endpoint: Endpoint) -> int:
    """Count what may still be claimed; at a limited rate nothing is claimed ahead."""
    ahead = 0 if endpoint.rate_per_second is not None else AHEAD
    return endpoint.concurrency * (1 + ahead) - lane.running - len(lane.waiting)
