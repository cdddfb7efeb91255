"""``clock.advanced``: how every partition of the log learns what a test clock shows.

Guarantee: saying it again, or saying less than was said, changes nothing; so whoever is in doubt
whether it was said says it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts.clocks import CLOCK_ADVANCED, ClockAdvanced
from contracts.cloudevent import CloudEvent
from contracts.codec import encode, raw
from contracts.identifiers import derived_id
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from services.runtime.kafka.producer import Outgoing, Producer

SOURCE: Final = "api"
SUBJECT: Final = "clock"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace's test clock shows at a revision of its settings."""

    workspace: str
    revision: int
    at: datetime


async def append_clocks(
    producer: Producer, clocks: Sequence[Shown], *, partitions: int, deadline_seconds: float
) -> list[Position]:
    """Tell every partition; answers where the last record of each stands.

    Raises:
        KafkaUnavailableError: nothing was appended.
        OutcomeUnknownError: a partition did not acknowledge in time.
    """
    records = [Outgoing(SUBJECT.encode(), encode(_record(each))) for each in clocks]
    outcomes = await producer.append_all(
        CUSTOMER_EVENTS,
        dict.fromkeys(range(partitions), records),
        deadline_seconds=deadline_seconds,
    )
    positions: list[Position] = []
    for partition, outcome in outcomes.items():
        if isinstance(outcome, Exception):
            raise outcome
        ack, count = outcome[-1]
        positions.append(Position(CUSTOMER_EVENTS, partition, ack.base_offset + count - 1))
    return positions


def _record(shown: Shown) -> CloudEvent:
    record_id = derived_id("clock_", shown.workspace, str(shown.revision))
    return CloudEvent(
        id=record_id,
        source=SOURCE,
        type=CLOCK_ADVANCED,
        subject=SUBJECT,
        time=shown.at,
        workspace=shown.workspace,
        recordedtime=shown.at,
        definitionsrevision=0,
        data=raw(ClockAdvanced(to=shown.at)),
        correlationid=record_id,
    )
