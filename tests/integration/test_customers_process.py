"""The customers processor as a process: a fact told for two customers ends at one, by the log."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from contracts.topics import CUSTOMER_EVENTS
from projections.customers import queries
from projections.customers.queries import StoredEvent
from projections.kernel import generations
from services.runtime.kafka.consumer import Incoming
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.kafka.topics import ensure_topics
from services.runtime.postgres import Session, connect
from services.runtime.settings import Settings
from tests.conformance.logs import PARTITIONS, WORKSPACE, Log
from tests.integration.test_customers_withdrawals import ALEX, KIM, order
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(180)

START_SECONDS = 60.0
"""A process, its imports and its place in the group, on a machine that is busy."""
APPEND_SECONDS = 10.0


@contextmanager
def customers_process(settings: Settings) -> Generator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "projections.customers"], env=settings.environment()
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


async def append(producer: Producer, records: Sequence[Incoming]) -> None:
    for record in records:
        outgoing = [Outgoing(record.key, record.value)]
        await producer.append(
            CUSTOMER_EVENTS, record.partition, outgoing, deadline_seconds=APPEND_SECONDS
        )


async def held_by(session: Session, customer: str) -> StoredEvent | None:
    live = await generations.live(session, "customers")
    if live is None:
        return None
    found = await queries.find_event(session, live.schema, WORKSPACE, order(0).event_id)
    return found if found is not None and found.customer.id == customer else None


async def withdrawn_from(session: Session, customer: str) -> bool:
    live = await generations.live(session, "customers")
    assert live is not None
    page = await queries.activity(session, live.schema, WORKSPACE, customer, limit=1)
    return b'"outcome":"withdrawn"' in bytes(page.data[0].data)


async def test_a_fact_moves_with_its_newest_version_and_the_loser_hears_of_it(
    kafka: str, topic_prefix: str, database: str, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        kafka=kafka,
        postgres=database,
        topic_prefix=topic_prefix,
        partitions=PARTITIONS,
        master_key=SecretStr("6d" * 32),
    )
    await ensure_topics(kafka, prefix=topic_prefix, partitions=PARTITIONS)
    log = Log()
    producer, session = Producer(kafka, prefix=topic_prefix), await connect(database)
    try:
        await append(producer, [log.tell(ALEX, order(0)), log.tell(KIM, order(1))])
        with customers_process(settings):
            await eventually(lambda: held_by(session, KIM), START_SECONDS)
            await eventually(lambda: withdrawn_from(session, ALEX), START_SECONDS)
        await append(producer, [log.tell(ALEX, order(2))])
        with customers_process(settings):
            found = await eventually(lambda: held_by(session, ALEX), START_SECONDS)
            await eventually(lambda: withdrawn_from(session, KIM), START_SECONDS)
        assert (found.outcome, found.version) == ("applied", 3)
    finally:
        await session.close()
        await producer.stop()
