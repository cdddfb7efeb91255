"""Two or more servers driven in turns, so that a noisy machine is noisy for all of them.

A machine's speed may change twofold within a minute (shared hardware, hyperthreads). Each round
drives every side once, shortly; the first round warms broker and servers and does not count. The
median over the rounds stands for a side, the median of the rounds' ratios for two.
"""

from collections.abc import Sequence
from statistics import median

import msgspec

from tests.benchmarks.support.driving import driven
from tests.benchmarks.support.load import Plan
from tests.benchmarks.support.processes import usage_of
from tests.benchmarks.support.servers import Stack

SERVER_CORES = frozenset({0})
LOAD_CORES = frozenset({1})
ROUNDS = 5
ROUND_SECONDS = 2.0
WARMUP_SECONDS = 0.5


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A running server and what is sent to it; the plan's times are replaced by the round's."""

    name: str
    pid: int
    plan: Plan
    events_per_request: int = 1


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One side in one round.

    Attributes:
        server_microseconds: processor time of the server, an event.
        generator_share: of its core that the load generator used; near 1 it is what was measured.
    """

    events_per_second: float
    server_microseconds: float
    p50_ms: float
    p99_ms: float
    generator_share: float


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """All rounds of one side that count, in order."""

    rounds: list[Round]

    @property
    def events_per_second(self) -> float:
        return median(each.events_per_second for each in self.rounds)

    @property
    def server_microseconds(self) -> float:
        return median(each.server_microseconds for each in self.rounds)

    def ratio_to(self, other: "Taken") -> float:
        """Our rate over the other's: the median of the ratios within each round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return median(ours.events_per_second / its.events_per_second for ours, its in pairs)

    def described(self) -> str:
        rates = [each.events_per_second for each in self.rounds]
        p50 = median(each.p50_ms for each in self.rounds)
        p99 = median(each.p99_ms for each in self.rounds)
        share = median(each.generator_share for each in self.rounds)
        return (
            f"median of {len(rates)} rounds, {min(rates):,.0f} to {max(rates):,.0f}; "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; {self.server_microseconds:.1f} µs of the "
            f"server's processor time an event; generator {share:.0%} of its core"
        )


async def alternated(
    stack: Stack, sides: Sequence[Side], *, rounds: int = ROUNDS
) -> dict[str, Taken]:
    """Drive the sides in turns; what was taken of each, by its name.

    Raises:
        ChildFailedError: any answer was not 2xx.
    """
    taken: dict[str, list[Round]] = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides:
            measured = await _round(stack, side)
            if number > 0:
                taken[side.name].append(measured)
    return {name: Taken(rounds=each) for name, each in taken.items()}


async def _round(stack: Stack, side: Side) -> Round:
    plan = msgspec.structs.replace(
        side.plan, warmup_seconds=WARMUP_SECONDS, seconds=ROUND_SECONDS, rate=None
    )
    before = usage_of(side.pid).cpu_seconds
    result = await driven(plan, scratch=stack.scratch, cores=LOAD_CORES)
    used = usage_of(side.pid).cpu_seconds - before
    events = sum(result.statuses.values()) * side.events_per_request
    return Round(
        events_per_second=result.per_second * side.events_per_request,
        server_microseconds=used / events * 1e6,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        generator_share=result.cpu_seconds / result.seconds,
    )
