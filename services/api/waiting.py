"""Reading what one wrote: ``Upshot-Wait-For`` and ``Prefer: wait=<seconds>`` on every GET.

Guarantee: a GET with positions answers from a read model that has passed them all, or 503
``projection-behind``; a position that no read model can pass is 400.
"""

import re
from typing import Final

from contracts.errors import refuse
from contracts.places import Position, parse_position
from contracts.topics import CUSTOMER_EVENTS, TOPICS
from services.api.call import Call
from services.api.routes import Param
from services.runtime.problems import ProblemError, unavailable

WAIT_SECONDS_DEFAULT: Final = 5
WAIT_SECONDS_MAX: Final = 30
POSITIONS_MAX: Final = 64
"""Positions of one request: a batch touches each of twelve partitions once."""
WAIT_FOR: Final = "Upshot-Wait-For"
PREFER: Final = "Prefer"

_NAMES: Final = "|".join(re.escape(topic.name) for topic in TOPICS)
_POSITIONS: Final = rf"^({_NAMES})/[0-9]{{1,6}}/[0-9]{{1,18}}$"

WAIT_PARAMS: Final = (
    Param(
        name=WAIT_FOR,
        description="Positions (`topic/partition/offset`, repeatable or comma-separated) that the "
        "read model must have passed before it answers.",
        pattern=_POSITIONS,
        repeated=True,
    ),
    Param(
        name=PREFER,
        description=f"`wait=<seconds>`: how long to wait, {WAIT_SECONDS_DEFAULT} when absent, "
        f"at most {WAIT_SECONDS_MAX}.",
        repeated=True,
    ),
)
"""Headers of every GET with a key."""

_POINTER: Final = f"/headers/{WAIT_FOR}"
_WAIT: Final = re.compile(r"wait=\"?([0-9]{1,6})\"?", re.ASCII | re.IGNORECASE)


def waits(call: Call) -> bool:
    """Whether the call's headers name a position."""
    return bool(call.values.get(WAIT_FOR))


async def wait_for_positions(call: Call) -> None:
    """Hold the call until its route's read model has passed what its headers name.

    Raises:
        RefusedError: a position is malformed, or on a topic or partition that is not read.
        ProblemError: 503, the deadline passed; 429, too many wait.
    """
    texts = call.values.get(WAIT_FOR, ())
    if not isinstance(texts, tuple) or not texts:
        return
    if len(texts) > POSITIONS_MAX:
        raise refuse(_POINTER, "too-many", f"has more than {POSITIONS_MAX} positions")
    positions = [_position(text, call) for text in texts]
    if call.route.projection is None:
        return  # it reads the truth itself, which is ahead of every position
    seconds = wait_seconds(call)
    with call.api.waits.seated(call.workspace):
        passed = await call.api.progress.wait(call.route.projection, positions, seconds)
    if not passed:
        raise ProblemError(
            unavailable(
                f"The read model {call.route.projection} has not passed the position "
                f"within {seconds} s.",
                slug="projection-behind",
            )
        )


def wait_seconds(call: Call) -> int:
    """Seconds that the caller prefers to wait, bounded."""
    preferences = call.values.get(PREFER, ())
    for preference in preferences if isinstance(preferences, tuple) else ():
        found = _WAIT.fullmatch(preference.replace(" ", ""))
        if found is not None:
            return min(int(found[1]), WAIT_SECONDS_MAX)
    return WAIT_SECONDS_DEFAULT


def _position(text: str, call: Call) -> Position:
    try:
        position = parse_position(text)
    except ValueError as error:
        raise refuse(_POINTER, "position", "is not topic/partition/offset") from error
    topic = next((each for each in TOPICS if each.name == position.topic), None)
    if topic is None:
        raise refuse(_POINTER, "topic-unknown", f"{position.topic} is no topic of the log")
    if position.partition >= (topic.partitions or call.api.settings.partitions):
        raise refuse(_POINTER, "partition-unknown", f"{position.topic} has no such partition")
    if call.route.projection is not None and position.topic != CUSTOMER_EVENTS:
        raise refuse(_POINTER, "topic-not-read", f"this read model does not read {position.topic}")
    return position
