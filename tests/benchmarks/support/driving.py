"""Running the load generator beside a server."""

from pathlib import Path

import msgspec

from tests.benchmarks.support.load import TAIL_SECONDS, Plan, Result
from tests.benchmarks.support.processes import ChildFailedError, answered, python

SLACK_SECONDS = 30.0  # the interpreter's start and the plan's way through the pipe


async def driven(plan: Plan, *, scratch: Path, cores: frozenset[int] = frozenset()) -> Result:
    """Carry a plan out in a process of its own.

    Raises:
        ChildFailedError: the generator failed, or any answer was not 2xx.
    """
    printed = await answered(
        python("tests.benchmarks.support.load"),
        stdin=msgspec.msgpack.encode(plan),
        scratch=scratch,
        name="load",
        cores=cores,
        seconds=plan.warmup_seconds + plan.seconds + TAIL_SECONDS + SLACK_SECONDS,
    )
    result = msgspec.json.decode(printed, type=Result)
    if result.refused:
        raise ChildFailedError(f"{result.statuses}: {result.refusal}")
    return result
