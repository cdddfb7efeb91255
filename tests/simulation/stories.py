"""What is told in a run: by two gateways that know nothing of each other, and by an upstream.

Gateways tell versions of few facts in any order: newer, older, deleted, restored, the same once
more, of another customer. The upstream withdraws facts under the sequence rule, and what it
relayed may stand twice. Somebody appends what nobody can read.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from datetime import timedelta
from decimal import Decimal

import msgspec
from msgspec import UNSET

from contracts import codec
from contracts.clocks import CLOCK_ADVANCED, ClockAdvanced
from contracts.cloudevent import CloudEvent, spell_sequence
from contracts.events import EVENT_WITHDRAWN, EventWithdrawn, Profile
from contracts.identifiers import derived_id, event_id, fact_key
from contracts.partitioner import partition_of
from contracts.requests import (
    ADJUST_REQUESTED,
    JOIN_REQUESTED,
    AdjustRequested,
    JoinRequested,
    request_id,
)
from services.runtime.kafka.consumer import Incoming
from services.runtime.kafka.producer import Outgoing
from tests.conformance.building import KnownDefinitions
from tests.conformance.echoing import Voice
from tests.conformance.histories import Told
from tests.conformance.joining import ASKED_BY
from tests.conformance.logs import PARTITIONS, START, WORKSPACE, Log, customer_number

CUSTOMERS = 4
TOLD_MIN, TOLD_MAX = 8, 22
"""Told by each gateway."""
WITHDRAWN_MAX = 8
POISON_MAX = 2
CLOCKS_MAX = 5
MERGES_MAX = 3
REQUESTS_MAX = 8
EVENTS = ("order.completed", "left_review")
OUTCOME: Voice = "customer.badge.granted"
"""A kind of outcome that definitions name, so that it comes back: from the second revision on."""
REVISIONS = 4
ASKS = 3
"""The revision from which a rule asks for a segment; by the last one none does."""
STAMPS = (0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3)
LAST_SHARE = 0.03
"""Revisions that records are stamped with, and how often the last one is: it comes late."""
REPEATED_SHARE = 0.15
"""How often a producer tells the same once more; never of a fact without a name, which would be
another one then."""
POISON = (b"", b"{}", b"\xff\xfe", b'{"id": 1}', b"not JSON")


class Appending(msgspec.Struct, frozen=True):
    """A record to append to ``customer.events``, and whether it is one that nobody can read."""

    partition: int
    record: Outgoing
    is_poison: bool = False


def definitions() -> KnownDefinitions:
    """All revisions that there will be, each in force as soon as a record is stamped with it."""
    known = KnownDefinitions()
    for revision, every in enumerate((10, 4), start=1):
        program = {
            "name": "Club",
            "earning_rules": [
                {"id": "visit", "on": {"event": "left_review"}, "points": 50},
                {
                    "id": "spending",
                    "on": {"event": "order.completed"},
                    "per": {"every": every, "points": 1, "of": "metadata.amount"},
                    "if": {"not": {"customer": "metadata.VIP", "eq": True}},
                },
            ],
        }
        known.catalogue.apply(WORKSPACE, revision, "loyalty_program", "club", program)
    known.catalogue.apply(WORKSPACE, 2, "event_type", OUTCOME, {})
    known.catalogue.apply(WORKSPACE, ASKS, "event_type", ASKED_BY, {})
    known.catalogue.apply(WORKSPACE, REVISIONS, "event_type", ASKED_BY, None)
    return known


Story = Generator[Appending, int, None]
"""What somebody appends, one record after the other; each time he is told the record's offset."""


class Gateway(Log):
    """Tells its share of a history, record by record; what it appends is handed on."""

    def __init__(self, draw: random.Random, number: int) -> None:
        super().__init__()
        self._draw = draw
        self._number = number
        self._count = number * 1_000_000  # ids of its own
        self._made: Appending | None = None

    def append(self, key: bytes, value: bytes, *, partition: int | None = None) -> Incoming:
        target = partition_of(key, PARTITIONS) if partition is None else partition
        self._made = Appending(target, Outgoing(key, value))
        return Incoming(target, 0, 0, key, value)

    def story(self) -> Story:
        """Tell one thing after the other, now and then the last one again."""
        for number in range(self._draw.randint(TOLD_MIN, TOLD_MAX)):
            told = _told(self._draw)
            self.tell(
                customer_number(told.customer),
                told.data(self._number * 1_000_000 + number),
                revision=_stamp(self._draw),
                after_ms=self._draw.randint(0, 2),
            )
            assert self._made is not None, "telling appends"
            yield self._made
            is_named = told.event is None or told.external_id or told.producer_id
            if is_named and self._draw.random() < REPEATED_SHARE:
                yield self._made


def _stamp(draw: random.Random) -> int:
    return REVISIONS if draw.random() < LAST_SHARE else draw.choice(STAMPS)


def _told(draw: random.Random) -> Told:
    if draw.random() < 0.15:
        metadata = draw.choice(({}, {"VIP": True}, {"VIP": None}))
        return Told(
            customer=draw.randint(1, CUSTOMERS), profile=Profile(metadata=codec.raw(metadata))
        )
    hours = draw.randint(-3, 3)
    return Told(
        customer=draw.randint(1, CUSTOMERS),
        event=draw.choice(EVENTS),
        external_id=draw.choice((None, "A", "A", "B", "C")),
        producer_id=draw.choice((None, "p1", "p2")),
        occurred_at=draw.choice((None, START + timedelta(hours=hours))),
        deleted_at=draw.choice((UNSET, UNSET, UNSET, None, START)),
        metadata={"amount": draw.choice((25, -25, Decimal("9.99"), 400))},
        historical=draw.random() < 0.1,
    )


class Registrar(Gateway):
    """Merges customers as the api does: it closes one, and tells the other where that stands."""

    def story(self) -> Story:
        """Tell merges, now and then one part twice; a closed customer merges no more."""
        closed: set[int] = set()
        for _ in range(self._draw.randint(0, MERGES_MAX)):
            merged, survivor = self._draw.sample(range(1, CUSTOMERS + 1), 2)
            if {merged, survivor} & closed:
                continue
            closed.add(merged)
            names = customer_number(merged), customer_number(survivor)
            for _ in range(self._draw.choice((1, 1, 2))):
                offset = yield self._merge(*names, None)
                closing = Incoming(self._partition(names[0]), offset, 0, b"", b"")
                for _ in range(self._draw.choice((1, 1, 2))):
                    yield self._merge(*names, closing)

    def _merge(self, merged: str, survivor: str, closing: Incoming | None) -> Appending:
        self.merge(merged, survivor, closed_at=closing)
        assert self._made is not None, "telling appends"
        return self._made

    @staticmethod
    def _partition(customer: str) -> int:
        return partition_of(customer.encode(), PARTITIONS)


class Upstream:
    """Withdraws facts from customers, as the customers projection does; some of it stands twice."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._sequences: dict[int, int] = {}
        self._sent: list[Appending] = []

    def story(self, end_of: dict[int, int]) -> Story:
        """Tell withdrawals; ``end_of`` says where each partition ends at the time."""
        for _ in range(self._draw.randint(0, WITHDRAWN_MAX)):
            if self._sent and self._draw.random() < 0.3:
                yield self._draw.choice(self._sent)
            else:
                self._sent.append(self._withdrawal(end_of))
                yield self._sent[-1]

    def _withdrawal(self, end_of: dict[int, int]) -> Appending:
        draw = self._draw
        customer, holder = draw.sample(range(1, CUSTOMERS + 1), 2)
        key = customer_number(customer).encode()
        partition = partition_of(key, PARTITIONS)
        origin = draw.randrange(PARTITIONS)
        sequence = self._sequences[origin] = self._sequences.get(origin, 0) + 1
        fact = fact_key(
            WORKSPACE,
            draw.choice(EVENTS),
            external_id=draw.choice(("A", "B", "C")),
            producer_id=None,
        )
        assert fact is not None, "an external id names a fact"
        withdrawn = EventWithdrawn(
            event_id=event_id(fact),
            last_offset=draw.choice((end_of[partition], draw.randint(0, end_of[partition] + 1))),
            held_by=customer_number(holder),
        )
        record = CloudEvent(
            id=derived_id("withdrawn_", str(origin), str(sequence)),
            source=f"upstream/{origin}",
            type=EVENT_WITHDRAWN,
            subject=customer_number(customer),
            time=START,
            workspace=WORKSPACE,
            recordedtime=START,
            definitionsrevision=_stamp(draw),
            sequence=spell_sequence(sequence),
            data=codec.raw(withdrawn),
        )
        return Appending(partition, Outgoing(key, codec.encode(record)))


def requests(draw: random.Random) -> Story:
    """Ask for points and memberships; the same key now and then again, with another wish even."""
    for _ in range(draw.randint(0, REQUESTS_MAX)):
        customer = customer_number(draw.randint(1, CUSTOMERS))
        program, points = draw.choice(("club", "club", "none")), draw.choice((40, 7, -5, -60))
        idempotency_key = f"{customer}/{draw.randint(1, REQUESTS_MAX // 2)}"
        if draw.random() < 0.3:
            kind, body = JOIN_REQUESTED, JoinRequested(program=program, digest=f"join {program}")
        else:
            digest = f"adjust {program} {points}"
            body = AdjustRequested(program=program, points=points, digest=digest)
            kind = ADJUST_REQUESTED
        record = CloudEvent(
            id=request_id(WORKSPACE, idempotency_key),
            source="api",
            type=kind,
            subject=customer,
            time=START,
            workspace=WORKSPACE,
            recordedtime=START,
            definitionsrevision=_stamp(draw),
            data=codec.raw(body),
        )
        key = customer.encode()
        yield Appending(partition_of(key, PARTITIONS), Outgoing(key, codec.encode(record)))


def clocks(draw: random.Random) -> Story:
    """Set the workspace's test clock, forth and back, on every partition; mostly there is none."""
    for number in range(draw.choice((0, 0, 0, 1, CLOCKS_MAX))):
        to = START + timedelta(seconds=draw.choice((-3600, 0, 1, 60, 7200)) * draw.random())
        record = CloudEvent(
            id=f"clock-{number}",
            source="api",
            type=CLOCK_ADVANCED,
            subject="clock",
            time=START,
            workspace=WORKSPACE,
            recordedtime=START,
            definitionsrevision=_stamp(draw),
            data=codec.raw(ClockAdvanced(to=to)),
        )
        for partition in range(PARTITIONS):
            yield Appending(partition, Outgoing(b"clock", codec.encode(record)))


def poison(draw: random.Random) -> Story:
    """Append what cannot be read."""
    for _ in range(draw.randint(0, POISON_MAX)):
        yield Appending(
            draw.randrange(PARTITIONS), Outgoing(b"whoever", draw.choice(POISON)), is_poison=True
        )
