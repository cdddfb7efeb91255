"""A log cut shorter than what was applied: the processors stop and say so, and change nothing."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# aiokafka is untyped.

from __future__ import annotations

import asyncio
from typing import LiteralString

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import CUSTOMER_EVENTS
from services.runtime.kafka.consumer import Incoming
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.kafka.topics import ensure_topics
from tests.support.chaos import PROJECTIONS, READY_SECONDS, Inside, ask
from tests.support.eventually import eventually, eventually_sync
from tests.support.servers import session_folder
from tests.support.shops import sell
from tests.support.upshot import Upshot, running_upshot, start_upshot

EVENTS = 3  # of one customer, so that they stand in one partition
APPEND_SECONDS = 10.0
TABLES: tuple[tuple[str, LiteralString], ...] = (
    ("customers", "SELECT e::text FROM events e ORDER BY 1"),
    ("customers", "SELECT t::text FROM timeline t ORDER BY 1"),
    ("loyalty", "SELECT e::text FROM entries e ORDER BY 1"),
    ("loyalty", "SELECT m::text FROM members m ORDER BY 1"),
    ("dispatcher", "SELECT f::text FROM facts f ORDER BY 1"),
)


@pytest.mark.timeout(400)
def test_a_log_shorter_than_the_checkpoint_stops_every_processor_as_diverged(
    kafka: str, database: str, topic_prefix: str
) -> None:
    settings = {
        "UPSHOT_KAFKA": kafka,
        "UPSHOT_POSTGRES": database,
        "UPSHOT_TOPIC_PREFIX": topic_prefix,
    }
    with session_folder() as folder:
        with running_upshot(folder / "data", settings) as upshot:
            inside = Inside(upshot)
            for _ in range(EVENTS):
                sell(upshot, "alex")
            inside.wait_until_settled()
            before = _rows(inside)
            log = inside.records(CUSTOMER_EVENTS)
        asyncio.run(_cut(inside, log[:-1]))

        again = start_upshot(folder / "data", settings)
        try:
            ports = msgspec.json.decode(
                (folder / "data" / "ports.json").read_bytes(), type=dict[str, int]
            )
            for name in PROJECTIONS:
                eventually_sync(lambda port=ports[name]: _says_diverged(port), READY_SECONDS)
            eventually_sync(lambda: _are_listed_as_diverged(again, log[-1].partition))
            assert _rows(inside) == before
        finally:
            again.stop()


async def _cut(inside: Inside, kept: list[Incoming]) -> None:
    """Put a log in the place of the topic that has lost its end."""
    kafka, prefix = inside.settings["UPSHOT_KAFKA"], inside.settings["UPSHOT_TOPIC_PREFIX"]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([prefix + CUSTOMER_EVENTS])
        await eventually(lambda: _is_gone(admin, prefix + CUSTOMER_EVENTS))
    finally:
        await admin.close()
    await ensure_topics(kafka, prefix=prefix, partitions=len(inside.partitions))
    producer = Producer(kafka, prefix=prefix)
    for record in kept:
        await producer.append(
            CUSTOMER_EVENTS,
            record.partition,
            [Outgoing(record.key, record.value)],
            deadline_seconds=APPEND_SECONDS,
        )
    await producer.stop()


async def _is_gone(admin: AIOKafkaAdminClient, topic: str) -> bool:
    return topic not in await admin.list_topics()


def _says_diverged(port: int) -> bool:
    status, body = ask(port, "/readyz")
    return status == 503 and b"DivergedError" in body


def _are_listed_as_diverged(upshot: Upshot, partition: int) -> bool:
    inside = Inside(upshot)
    stopped = {
        each.name: part.stopped or ""
        for each in inside.projections()
        for part in each.partitions
        if part.partition == partition
    }
    return stopped.keys() == set(PROJECTIONS) and all(
        reason.startswith("diverged") for reason in stopped.values()
    )


def _rows(inside: Inside) -> list[list[tuple[object, ...]]]:
    return [inside.rows_of(projection, query) for projection, query in TABLES]
