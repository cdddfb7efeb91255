"""What waits for the log: groups, bounds, and who gets which offset."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import pytest

from services.runtime.kafka import appender as lanes
from services.runtime.kafka.appender import Appender
from services.runtime.kafka.errors import (
    KafkaUnavailableError,
    OutcomeUnknownError,
    OverloadedError,
)
from services.runtime.kafka.producer import Ack, Outgoing, Producer

NOW = datetime(2026, 11, 21, tzinfo=UTC)
Outcome = list[tuple[Ack, int]] | Exception


class GatedProducer(Producer):
    """Takes groups, and answers each when the test lets it go."""

    def __init__(self) -> None:
        super().__init__("nowhere:1")
        self.groups: list[dict[int, list[bytes]]] = []
        self.gates: asyncio.Queue[dict[int, Exception]] = asyncio.Queue()
        self.next_offset = 0

    def lane(self, topic: str, partition: int) -> int:
        assert topic == "t"
        return partition // 100

    async def append_all(
        self, topic: str, records: Mapping[int, Iterable[Outgoing]], *, deadline_seconds: float
    ) -> dict[int, Outcome]:
        assert topic == "t"
        assert deadline_seconds > 0
        group = {partition: [each.value for each in told] for partition, told in records.items()}
        self.groups.append(group)
        failures = await self.gates.get()
        outcomes: dict[int, Outcome] = {}
        for partition, values in group.items():
            ack = Ack(base_offset=self.next_offset, appended_at=NOW)
            outcomes[partition] = failures.get(partition, [(ack, len(values))])
            self.next_offset += len(values)
        return outcomes

    def let_go(self, failures: dict[int, Exception] | None = None) -> None:
        self.gates.put_nowait(failures or {})


def told(*values: bytes) -> list[Outgoing]:
    return [Outgoing(b"k", value) for value in values]


async def turn() -> None:
    """Let every task that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_while_an_append_is_under_way_goes_together() -> None:
    producer = GatedProducer()
    appender = Appender(producer, "t")

    first = appender.append(1, told(b"a"))
    await turn()
    rest = [appender.append(n % 2, told(b"b%d" % n, b"c%d" % n)) for n in range(4)]
    producer.let_go()
    producer.let_go()

    assert await first == [0]
    assert [await each for each in rest] == [[1, 2], [5, 6], [3, 4], [7, 8]]
    assert producer.groups == [
        {1: [b"a"]},
        {0: [b"b0", b"c0", b"b2", b"c2"], 1: [b"b1", b"c1", b"b3", b"c3"]},
    ]


async def test_what_comes_right_after_an_append_goes_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "APPEND_INTERVAL_SECONDS", 0.05)
    producer = GatedProducer()
    appender = Appender(producer, "t")
    producer.let_go()
    await appender.append(0, told(b"a"))

    rest = [appender.append(0, told(b"b"))]
    await turn()
    rest.append(appender.append(0, told(b"c")))
    producer.let_go()
    await asyncio.gather(*rest)

    assert producer.groups == [{0: [b"a"]}, {0: [b"b", b"c"]}]


async def test_much_that_waits_is_appended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "APPEND_INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(lanes, "APPEND_GROUP_BYTES_MIN", 10)
    producer = GatedProducer()
    appender = Appender(producer, "t")
    producer.let_go()
    await appender.append(0, told(b"a"))

    producer.let_go()
    async with asyncio.timeout(5):
        await appender.append(0, told(b"x" * 10))

    assert len(producer.groups) == 2


async def test_a_broker_that_stands_still_holds_up_its_own_partitions_only() -> None:
    producer = GatedProducer()
    appender = Appender(producer, "t")

    stuck = appender.append(1, told(b"a"))
    await turn()
    other = appender.append(100, told(b"b"))
    await turn()

    assert producer.groups == [{1: [b"a"]}, {100: [b"b"]}]
    producer.let_go()
    producer.let_go()
    await asyncio.gather(stuck, other)


async def test_one_partitions_failure_is_not_anothers() -> None:
    producer = GatedProducer()
    appender = Appender(producer, "t")

    failed, fine = appender.append(0, told(b"a")), appender.append(1, told(b"b"))
    producer.let_go({0: OutcomeUnknownError("t")})

    with pytest.raises(OutcomeUnknownError):
        await failed
    assert len(await fine) == 1


async def test_beyond_the_bound_nothing_more_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "APPEND_RECORDS_MAX", 2)
    producer = GatedProducer()
    appender = Appender(producer, "t")
    waiting = appender.append(0, told(b"a", b"b"))

    with pytest.raises(OverloadedError):
        appender.append(0, told(b"c"))
    producer.let_go()
    await waiting
    after = appender.append(0, told(b"d"))
    producer.let_go()

    assert await after == [2]


async def test_a_group_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "APPEND_GROUP_BYTES_MAX", 10)
    producer = GatedProducer()
    appender = Appender(producer, "t")

    waiting = [appender.append(0, told(b"x" * 6)) for _ in range(3)]
    for _ in waiting:
        producer.let_go()
    await asyncio.gather(*waiting)

    assert [len(group[0]) for group in producer.groups] == [1, 1, 1]


async def test_what_waited_too_long_is_let_go_before_it_is_appended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer = GatedProducer()
    appender = Appender(producer, "t")
    under_way = appender.append(0, told(b"a"))
    await turn()
    late = appender.append(0, told(b"b"))

    monkeypatch.setattr(lanes, "APPEND_SECONDS", -1.0)
    producer.let_go()

    assert await under_way == [0]
    with pytest.raises(KafkaUnavailableError):
        await late
