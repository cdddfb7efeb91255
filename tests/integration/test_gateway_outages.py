"""The gateway while a server behind it is away, and after."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from services.stack.embedded_kafka import kafka_plan, wait_for_kafka
from services.stack.embedded_postgres import postgres_plan, wait_for_postgres
from services.stack.jars import kafka_jars
from services.stack.process import Process
from tests.support.eventually import eventually
from tests.support.gateway import Answer, Gateway, gateway_settings, prepare, running_gateway
from tests.support.servers import SESSION_PARAMETERS, fresh_database, session_folder

pytestmark = pytest.mark.timeout(180)

KNOWN = {"event": "signed_up", "customer": {"source_id": "known"}}
UNKNOWN = {"event": "signed_up", "customer": {"source_id": "unknown"}}
RECOVERY_SECONDS = 60.0


class Broker:
    """A broker of this test's own that can be killed and started again on its data."""

    def __init__(self, folder: Path) -> None:
        self._plan, self.bootstrap = kafka_plan(folder / "kafka", kafka_jars())
        self._process = Process(self._plan)

    async def ready(self) -> None:
        await asyncio.to_thread(wait_for_kafka, self._process, self.bootstrap)

    async def kill(self) -> None:
        await asyncio.to_thread(self._process.kill)

    async def start(self) -> None:
        self._process = Process(self._plan)
        await self.ready()


@pytest.fixture
async def broker() -> AsyncGenerator[Broker]:
    with session_folder() as folder:
        made = Broker(folder)
        await made.ready()
        yield made
        await made.kill()


async def accepted(gateway: Gateway, event: object) -> Answer | None:
    answer = await gateway.post("/v1/events", event)
    return answer if answer.status == 200 else None


async def test_with_the_broker_away_events_are_503_and_get_in_again_by_themselves(
    broker: Broker, postgres: str
) -> None:
    with fresh_database(postgres) as database:
        settings = gateway_settings(broker.bootstrap, database, f"t{uuid.uuid4().hex[:12]}-")
        await prepare(settings)
        async with running_gateway(settings) as gateway:
            before = await gateway.post("/v1/events", KNOWN)
            await broker.kill()

            during = await asyncio.gather(*(gateway.post("/v1/events", KNOWN) for _ in range(5)))
            batch = await gateway.post("/v1/events/batch", [KNOWN, KNOWN])
            await broker.start()
            after = await eventually(lambda: accepted(gateway, KNOWN), RECOVERY_SECONDS)

    assert before.status == 200
    assert {each.status for each in (*during, batch)} == {503}
    assert all("Retry-After" in each.headers for each in (*during, batch))
    assert after.position.offset > before.position.offset


async def test_with_postgres_away_known_customers_get_in_and_unknown_ones_do_not(
    kafka: str,
) -> None:
    with session_folder() as folder:
        plan, maintenance = postgres_plan(folder / "postgres", SESSION_PARAMETERS)
        process = Process(plan)
        await asyncio.to_thread(wait_for_postgres, process, maintenance)
        settings = gateway_settings(kafka, maintenance, f"t{uuid.uuid4().hex[:12]}-")
        await prepare(settings)
        async with running_gateway(settings) as gateway:
            before = await gateway.post("/v1/events", KNOWN)
            await asyncio.to_thread(process.stop)

            known = await gateway.post("/v1/events", KNOWN)
            unknown = await gateway.post("/v1/events", UNKNOWN)
            mixed = await gateway.post("/v1/events/batch", [UNKNOWN, KNOWN])

    assert (before.status, known.status, unknown.status) == (200, 200, 503)
    assert (mixed.status, mixed.json["accepted"], mixed.json["refused"]) == (200, 1, 1)
