"""A log as the gateway writes it: ``customer.events`` filled with real records, definitions said.

Each log has a prefix of its own, so that any number of them stand on one broker.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import count, islice
from uuid import uuid4

import msgspec

from contracts import codec
from contracts.administration import DEFINITION_CHANGED, DefinitionChanged
from contracts.cloudevent import CloudEvent
from contracts.events import CUSTOM_EVENT, CustomEvent
from contracts.identifiers import FactKey, derive, event_id
from contracts.partitioner import partition_of
from contracts.topics import CUSTOMER_EVENTS, DEFINITIONS
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.kafka.topics import ensure_topics
from tests.benchmarks.support.kafka import PARTITIONS
from tests.benchmarks.support.purchases import STRIDE, amount_of

WORKSPACE = "demo"
EVENT = "order.completed"
APPEND_RECORDS = 50_000  # made at a time: bounds memory while filling
APPEND_SECONDS = 120.0
OCCURRED_AT = datetime(2026, 1, 2, 12, tzinfo=UTC)

DEFINITIONS_SAID: tuple[tuple[str, str, Mapping[str, object]], ...] = (
    ("event_type", EVENT, {"properties": {"amount": {"type": "number", "required": True}}}),
    (
        "loyalty_program",
        "club",
        {
            "earning_rules": [
                {
                    "id": "spend",
                    "on": {"event": EVENT},
                    "per": {"every": 10, "points": 1, "of": "metadata.amount"},
                }
            ]
        },
    ),
)
AMOUNT_UNIT = 10  # loyalty's amounts are tens, so that every event earns


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A filled log; ``topic`` is the real name of ``customer.events``."""

    prefix: str
    topic: str
    records: int
    value_bytes: int


Events = Callable[[int], CustomEvent]
"""Make the event of a number."""


def anonymous(number: int) -> CustomEvent:
    """Make a purchase that its producer does not name: a fact that can have no other version."""
    return CustomEvent(
        event=EVENT,
        event_id=event_id(FactKey(derive("anonymous", str(number)))),
        metadata=msgspec.Raw(b'{"amount":%d}' % amount_of(number)),
    )


def versioned(number: int) -> CustomEvent:
    """Make a purchase named by ``external_id``: a fact that may be told again."""
    told = f"order-{number}"
    return CustomEvent(
        event=EVENT,
        event_id=event_id(FactKey(derive("external", WORKSPACE, EVENT, told))),
        identified="external",
        external_id=told,
        occurred_at=OCCURRED_AT,
        metadata=msgspec.Raw(b'{"amount":%d.50}' % (amount_of(number) * AMOUNT_UNIT)),
    )


@asynccontextmanager
async def filled_log(
    kafka: str, events: Events, *, records: int, customers: int
) -> AsyncGenerator[Log]:
    """A log of that block's own, spread evenly over the customers."""
    prefix = f"benchmark-{uuid4().hex[:8]}-"
    await ensure_topics(kafka, prefix=prefix, partitions=PARTITIONS)
    producer = Producer(kafka, prefix=prefix)
    await producer.start()
    try:
        await _define(producer)
        size = await _fill(producer, events, records=records, customers=customers)
    finally:
        await producer.stop()
    yield Log(
        prefix=prefix,
        topic=prefix + CUSTOMER_EVENTS,
        records=records,
        value_bytes=size // records,
    )


async def _define(producer: Producer) -> None:
    told = [
        Outgoing(
            f"{kind}/{name}".encode(),
            _record(
                f"definition-{revision}",
                DEFINITION_CHANGED,
                f"{kind}/{name}",
                revision,
                DefinitionChanged(kind=kind, name=name, spec=codec.raw(spec)),
            ),
        )
        for revision, (kind, name, spec) in enumerate(DEFINITIONS_SAID, 1)
    ]
    await producer.append(DEFINITIONS, 0, told, deadline_seconds=APPEND_SECONDS)


async def _fill(producer: Producer, events: Events, *, records: int, customers: int) -> int:
    left = islice(made(events, first=0, customers=customers), records)
    size = 0
    while some := list(islice(left, APPEND_RECORDS)):
        of_partition: list[list[Outgoing]] = [[] for _ in range(PARTITIONS)]
        for partition, outgoing in some:
            of_partition[partition].append(outgoing)
            size += len(outgoing.value)
        await asyncio.gather(
            *(
                producer.append(CUSTOMER_EVENTS, each, told, deadline_seconds=APPEND_SECONDS)
                for each, told in enumerate(of_partition)
                if told
            )
        )
    return size


def made(events: Events, *, first: int, customers: int) -> Iterator[tuple[int, Outgoing]]:
    """Make records from a number on, each with its partition."""
    ids = [_customer(number) for number in range(customers)]
    partitions = [partition_of(each.encode(), PARTITIONS) for each in ids]
    for number in count(first):
        who = number * STRIDE % customers
        value = _record(
            f"record-{number}", CUSTOM_EVENT, ids[who], len(DEFINITIONS_SAID), events(number)
        )
        yield partitions[who], Outgoing(ids[who].encode(), value)


def _customer(number: int) -> str:
    return "cust_" + blake2b(str(number).encode(), digest_size=16).hexdigest()


def _record(identity: str, kind: str, subject: str, revision: int, told: object) -> bytes:
    return codec.encode(
        CloudEvent(
            id=identity,
            source="gateway",
            type=kind,
            subject=subject,
            time=OCCURRED_AT,
            workspace=WORKSPACE,
            recordedtime=OCCURRED_AT,
            definitionsrevision=revision,
            data=codec.raw(told),
        )
    )
