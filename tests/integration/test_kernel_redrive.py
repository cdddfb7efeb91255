"""Redriving on a real log: what an operator asks for happens once, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest

from contracts import codec
from contracts.administration import OPERATION_REQUESTED, OperationRequested, OperationVerb
from contracts.cloudevent import CloudEvent
from contracts.topics import CUSTOMER_EVENTS, LOYALTY_ENTRIES
from projections.kernel.compare import compare
from projections.kernel.generations import Generation
from projections.kernel.operations import Operator, Target, begin
from projections.kernel.projection import Effect, Step
from projections.kernel.redrive import Redriven
from projections.loyalty.model import WorkingSet
from projections.loyalty.projection import Loyalty
from services.runtime.kafka.producer import Ack, Outgoing, Producer
from services.runtime.postgres import connect
from tests.support.eventually import eventually
from tests.support.kernel import (
    PARTITIONS,
    POINTS_A_PURCHASE,
    Log,
    column,
    live_loyalty,
    new_customer,
    new_log,
    next_loyalty,
    purchase,
    reading,
)

pytestmark = pytest.mark.timeout(180)
READING_SECONDS = 60.0
ORDERS = 5


class Model:
    """Loyalty's model, which cannot apply one order until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_mended = False
        apply = Loyalty.apply

        def apply_or_not(loyalty: Loyalty, working: WorkingSet, step: Step) -> Iterable[Effect]:
            if b'"order-2"' in bytes(step.record.data) and not self.is_mended:
                raise ValueError("not mended")
            return apply(loyalty, working, step)

        monkeypatch.setattr(Loyalty, "apply", apply_or_not)


class DyingProducer(Producer):
    """Appends a redrive, and nobody ever hears of it."""

    async def append(
        self, topic: str, partition: int, records: Iterable[Outgoing], *, deadline_seconds: float
    ) -> list[tuple[Ack, int]]:
        await super().append(topic, partition, records, deadline_seconds=deadline_seconds)
        return await asyncio.get_running_loop().create_future()


def operator(log: Log, database: str, producer: Producer) -> Operator:
    loyalty = Loyalty()
    target = Target(
        projection=loyalty.name,
        version=loyalty.version,
        partitions=PARTITIONS,
        migrations=loyalty.migrations,
        verify=loyalty.verify,
    )
    return Operator(
        target, conninfo=database, kafka=log.kafka, prefix=log.prefix, producer=producer
    )


async def ask(
    database: str, verb: OperationVerb, *letters: str, generation: int | None = None
) -> None:
    """Have a processor take a request that stands on the topic ``operations``."""
    now = datetime.now(tz=UTC)
    request = OperationRequested(
        operation=f"op_{verb}",
        projection="loyalty",
        verb=verb,
        requested_by="key_1",
        letters=letters,
        generation=generation,
    )
    record = CloudEvent(
        id=request.operation,
        source="api",
        type=OPERATION_REQUESTED,
        subject="loyalty",
        time=now,
        workspace="demo",
        recordedtime=now,
        definitionsrevision=0,
        data=codec.raw(request),
    )
    session = await connect(database)
    await begin(session, "loyalty", codec.encode(record))
    await session.close()


@asynccontextmanager
async def operated(log: Log, database: str, producer: Producer) -> AsyncGenerator[None]:
    """Let an operator look for what is running, again and again, until the block ends."""
    session, carrying_out = await connect(database), operator(log, database, producer)
    ends = asyncio.Event()

    async def look() -> None:
        while not ends.is_set():
            await carrying_out.look(session)
            await asyncio.wait([asyncio.create_task(ends.wait())], timeout=0.05)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        ends.set()
        await looking
        await carrying_out.stop()
        await session.close()


async def report_of(database: str, live: Generation, verb: OperationVerb) -> Redriven | None:
    """The report of a request that has succeeded."""
    query = "SELECT report FROM upshot.operations WHERE state = 'succeeded' AND verb = %s"
    found = await column(database, live, query, verb)
    return msgspec.convert(found[0], Redriven) if found else None


async def redrives(log: Log) -> int:
    records = [codec.decode_record(each.value) for each in await log.read(CUSTOMER_EVENTS)]
    return sum(each.redrivefor == "loyalty" for each in records)


async def test_an_operator_killed_after_its_append_redrives_once_and_a_rebuild_is_equal(
    kafka: str, database: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(monkeypatch)
    async with new_log(kafka, topic_prefix) as log:
        live, customer = await live_loyalty(database), new_customer()
        await log.append(customer, *(purchase(customer, f"order-{n}") for n in range(ORDERS)))
        dying = DyingProducer(kafka, prefix=topic_prefix)

        async def died() -> str | None:
            found = await column(database, live, "SELECT partition FROM dead_letters")
            return f"loyalty.{found[0]}.2" if found else None

        async def is_appended() -> bool:
            return await redrives(log) > 0

        async with reading(log, database, live):
            letter = await eventually(died, READING_SECONDS)
            model.is_mended = True
            await ask(database, "redrive", letter)
            async with operated(log, database, dying):
                await eventually(is_appended, READING_SECONDS)
            async with operated(log, database, log.producer):
                ended = await eventually(
                    lambda: report_of(database, live, "redrive"), READING_SECONDS
                )

            rebuilt = await next_loyalty(database)
            async with reading(log, database, rebuilt):
                snapshot, steering = await connect(database), await connect(database)
                found = await compare(snapshot, steering, live, rebuilt)
                await snapshot.close()
                await steering.close()

        await dying.stop()
        assert 1 <= await redrives(log) <= 2
        assert [*ended.ended, *ended.not_open] == [letter]
        assert found.equal, found
        for generation in (live, rebuilt):
            query = "SELECT state || ended_offset FROM dead_letters"
            assert await column(database, generation, query) == [f"redriven{ORDERS}"]
            earned = await column(database, generation, "SELECT earned FROM members")
            assert earned == [ORDERS * POINTS_A_PURCHASE]
        assert len(await log.read(LOYALTY_ENTRIES)) == ORDERS


async def test_letters_that_cannot_be_redriven_are_named_and_can_be_discarded(
    kafka: str, database: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Model(monkeypatch)
    async with new_log(kafka, topic_prefix) as log:
        live, customer = await live_loyalty(database), new_customer()
        await log.append(customer, b"no record", purchase(customer, "order-2"))

        async def both_died() -> str | None:
            query = "SELECT partition FROM dead_letters ORDER BY record_offset"
            found = await column(database, live, query)
            return f"loyalty.{found[0]}" if len(found) > 1 else None

        async with reading(log, database, live), operated(log, database, log.producer):
            where = await eventually(both_died, READING_SECONDS)
            await ask(database, "redrive", f"{where}.0", f"{where}.1", f"{where}.9", "nonsense")
            redriven = await eventually(
                lambda: report_of(database, live, "redrive"), READING_SECONDS
            )
            await ask(database, "discard", f"{where}.0", f"{where}.1", f"{where}.2")
            discarded = await eventually(
                lambda: report_of(database, live, "discard"), READING_SECONDS
            )

        assert (redriven.ended, redriven.died_again) == ([f"{where}.1"], [f"{where}.2"])
        assert [each.letter for each in redriven.refused] == [
            f"{where}.9",
            "nonsense",
            f"{where}.0",
        ]
        assert "discarded" in redriven.refused[-1].reason
        assert discarded.ended == [f"{where}.0", f"{where}.2"]
        assert discarded.not_open == [f"{where}.1"]
        states = await column(
            database, live, "SELECT state FROM dead_letters ORDER BY record_offset"
        )
        assert states == ["discarded", "redriven", "discarded"]


async def test_a_rebuild_that_fails_where_the_live_generation_did_not_ends_with_its_reason(
    kafka: str, database: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(monkeypatch)
    model.is_mended = True
    async with new_log(kafka, topic_prefix) as log:
        live, customer = await live_loyalty(database), new_customer()
        await log.append(customer, *(purchase(customer, f"order-{n}") for n in range(ORDERS)))

        async def has_applied() -> bool:
            return await column(database, live, "SELECT earned FROM members") == [
                ORDERS * POINTS_A_PURCHASE
            ]

        async def failed() -> str | None:
            query = "SELECT report ->> 'reason' FROM upshot.operations WHERE state = 'failed'"
            found = await column(database, live, query)
            return str(found[0]) if found else None

        async with reading(log, database, live):
            await eventually(has_applied, READING_SECONDS)
            model.is_mended = False
            rebuilt = await next_loyalty(database)
            async with reading(log, database, rebuilt), operated(log, database, log.producer):
                await ask(database, "rebuild", generation=rebuilt.number)
                reason = await eventually(failed, READING_SECONDS)

        assert f"generation {rebuilt.number} stands still" in reason
        assert f"/2, which generation {live.number}, the live one, applied: ValueError" in reason
        assert await column(database, rebuilt, "SELECT count(*) FROM dead_letters") == [0]
