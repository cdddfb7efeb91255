"""Batches wait while loyalty is far behind: processors note how fresh they are, gateways heed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from contracts.partitioner import partition_of
from projections.kernel import freshness
from services.runtime.postgres import Session, connect, migrate_control
from tests.support.eventually import eventually
from tests.support.gateway import Answer, Gateway, gateway_settings, prepare, running_gateway
from tests.support.kernel import (
    PARTITIONS,
    live_loyalty,
    new_customer,
    new_log,
    purchase,
    reading,
)

pytestmark = pytest.mark.timeout(180)

START_SECONDS = 60.0
BEHIND = timedelta(seconds=31)
EVENT = {"event": "signed_up", "customer": {"source_id": "alex"}}


@pytest.fixture
async def session(database: str) -> AsyncGenerator[Session]:
    await migrate_control(database)
    opened = await connect(database)
    yield opened
    await opened.close()


async def noted(session: Session) -> dict[int, datetime]:
    rows = await session.execute("SELECT partition, caught_up_at FROM upshot.freshness")
    return {row[0]: row[1] for row in await rows.fetchall()}


async def now_of(session: Session) -> datetime:
    row = await (await session.execute("SELECT now()")).fetchone()
    assert row is not None
    return row[0]


async def test_freshness_never_goes_back(session: Session) -> None:
    began = await now_of(session)
    await freshness.note(session, "loyalty", {0: None, 1: began})
    first = await noted(session)

    await freshness.note(session, "loyalty", {0: began - BEHIND, 1: began - BEHIND})
    await freshness.note(session, "loyalty", {})

    assert first[0] >= began
    assert await noted(session) == first == {**first, 1: began}


async def test_a_partition_that_lags_is_as_fresh_as_its_last_applied_record(
    kafka: str, database: str, topic_prefix: str
) -> None:
    async with new_log(kafka, topic_prefix) as log:
        customer = new_customer()
        await log.append(customer, purchase(customer, "one"))
        async with reading(log, database, await live_loyalty(database)) as reader:

            async def caught_up() -> bool:
                lags = await reader.lag()
                return len(lags) == PARTITIONS and not any(lags.values())

            await eventually(caught_up, START_SECONDS)
            at = reader.applied_at({0: 0, 1: 0, 2: 0})
            lagging = reader.applied_at({0: 3, 1: 3, 2: 3})

    assert at == {0: None, 1: None, 2: None}
    assert list(lagging) == [partition_of(customer.encode(), PARTITIONS)]  # the others know none
    (applied_at,) = lagging.values()
    assert applied_at is not None
    assert datetime.now(UTC) - applied_at < timedelta(minutes=2)


async def test_a_processor_notes_every_partition_that_it_owns(
    kafka: str, database: str, topic_prefix: str, session: Session, tmp_path: Path
) -> None:
    settings = gateway_settings(kafka, database, topic_prefix, data_dir=tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "projections.loyalty", env=settings.environment()
    )
    try:

        async def all_noted() -> dict[int, datetime] | None:
            found = await noted(session)
            return found if len(found) == settings.partitions else None

        first = await eventually(all_noted, START_SECONDS)
        later = await eventually(lambda: _later(session, max(first.values())), START_SECONDS)
    finally:
        process.kill()
        await process.wait()

    assert set(later) == set(first)


async def _later(session: Session, than: datetime) -> dict[int, datetime] | None:
    found = await noted(session)
    return found if min(found.values()) > than else None


async def _send(gateway: Gateway) -> tuple[Answer, Answer]:
    single = await gateway.post("/v1/events", EVENT)
    return single, await gateway.post("/v1/events/batch", [EVENT])


async def test_batches_are_refused_while_loyalty_is_far_behind_and_single_events_are_taken(
    kafka: str, database: str, topic_prefix: str, session: Session
) -> None:
    settings = gateway_settings(kafka, database, topic_prefix)
    await prepare(settings)

    async def batch_of(gateway: Gateway, status: int) -> tuple[Answer, Answer] | None:
        answers = await _send(gateway)
        return answers if answers[1].status == status else None

    async with running_gateway(settings) as gateway:
        before = await _send(gateway)
        now = await now_of(session)
        await freshness.note(session, "loyalty", {0: now - BEHIND, 1: None})
        await freshness.note(session, "customers", {0: now - 9 * BEHIND})
        behind = await eventually(lambda: batch_of(gateway, 429))
        await freshness.note(session, "loyalty", {0: None})
        after = await eventually(lambda: batch_of(gateway, 200))

    assert [each.status for each in before] == [200, 200]
    assert [each.status for each in behind] == [200, 429]
    assert behind[1].json["type"] == "urn:upshot:problem:processor-behind"
    assert int(behind[1].headers["Retry-After"]) > 0
    assert [each.status for each in after] == [200, 200]
    assert msgspec.json.decode(after[1].body)["accepted"] == 1
