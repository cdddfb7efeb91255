"""Definitions over HTTP, on real Kafka and Postgres."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from contracts.codec import decode_record
from services.runtime.kafka.consumer import Consumer
from tests.integration.api_process import RunningApi, running_api

LEFT_REVIEW = {"properties": {"review_type": {"type": "string", "required": True}}}


@pytest.fixture
async def api(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[RunningApi]:
    async with running_api(kafka, database, topic_prefix) as running:
        yield running


async def test_a_definition_is_written_read_and_relayed(
    api: RunningApi, kafka: str, topic_prefix: str
) -> None:
    put = await api.admin.put("/v1/definitions/event_type/left_review", LEFT_REVIEW)
    got = await api.admin.get("/v1/definitions/event_type/left_review")

    assert (put.status, got.status) == (200, 200), put.content
    assert put.json()["revision"] == got.json()["revision"] == 1
    assert got.json()["spec"] == LEFT_REVIEW
    consumer = Consumer(kafka, "definitions", prefix=topic_prefix)
    await consumer.assign({0: 0})
    try:
        (found,) = await consumer.poll(0, records_max=10, timeout_ms=5_000)
    finally:
        await consumer.stop()
    record = decode_record(found.value)
    assert found.key == b"event_type/left_review"
    assert (record.definitionsrevision, record.workspace) == (1, "demo")
    assert (record.type, record.subject) == ("definition.changed", "event_type/left_review")
