"""The gateway in a workspace on a test clock: what it takes as the present."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from contracts.codec import decode_object
from contracts.places import parse_position
from services.runtime.settings import Settings
from tests.support.gateway import (
    WORKSPACE,
    Answer,
    Gateway,
    define,
    gateway_settings,
    prepare,
    running_gateway,
)

SHOWN = datetime(2041, 1, 1, tzinfo=UTC)
REVISION = 3
"""Of the workspace's settings, which come after the two event types."""


@pytest.fixture
async def gateway(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[Gateway]:
    settings = gateway_settings(kafka, database, topic_prefix)
    await prepare(settings)
    await _show(settings, SHOWN, REVISION)
    async with running_gateway(settings) as running:
        yield running


async def _show(settings: Settings, at: datetime, revision: int) -> None:
    """Have the test clock show an instant at a revision of the workspace's settings."""
    spec = {"clock": "test", "clock_at": at.isoformat()}
    await define(settings, [("workspace", WORKSPACE, spec)], first_revision=revision)


def _event(**fields: object) -> dict[str, object]:
    return {"event": "signed_up", "customer": {"source_id": "alex"}, **fields}


def _after(**duration: int) -> str:
    return (SHOWN + timedelta(**duration)).isoformat()


def _time(answer: Answer, field: str) -> datetime:
    return datetime.fromisoformat(str(answer.json[field]))


async def test_an_event_is_recorded_at_what_the_clock_shows(gateway: Gateway) -> None:
    answer = await gateway.post("/v1/events", _event())

    assert answer.status == 200, answer.body
    assert (_time(answer, "occurred_at"), _time(answer, "created_at")) == (SHOWN, SHOWN)
    record = await gateway.record(answer.position)
    assert (record.time, record.recordedtime) == (SHOWN, SHOWN)
    assert record.definitionsrevision == REVISION


async def test_events_are_ahead_or_not_by_the_clock_that_is_shown(gateway: Gateway) -> None:
    soon, later = _after(minutes=5), _after(minutes=5, seconds=1)

    taken = await gateway.post("/v1/events", _event(occurred_at=soon))
    refused = await gateway.post("/v1/events", _event(occurred_at=later))
    batch = await gateway.post(
        "/v1/events/batch", [_event(occurred_at=soon), _event(occurred_at=later), _event()]
    )

    assert (taken.status, refused.status) == (200, 400)
    assert _time(taken, "occurred_at") == SHOWN + timedelta(minutes=5)
    assert b"/occurred_at" in refused.body
    assert (batch.json["accepted"], batch.json["refused"]) == (2, 1)
    last = decode_object(batch.body)["results"]
    assert isinstance(last, list) and isinstance(last[2], dict)
    record = await gateway.record(parse_position(str(last[2]["position"])))
    assert (record.time, record.recordedtime) == (SHOWN, SHOWN)


async def test_a_customer_is_told_of_at_what_the_clock_shows(gateway: Gateway) -> None:
    answer = await gateway.post("/v1/customers", {"source_id": "alex", "name": "Alex"})

    assert answer.status == 200, answer.body
    record = await gateway.record(answer.position)
    assert (record.time, record.recordedtime) == (SHOWN, SHOWN)


async def test_a_gateway_knows_of_a_move_by_the_revision(gateway: Gateway) -> None:
    await _show(gateway.settings, SHOWN + timedelta(days=3), REVISION + 1)

    answer = await gateway.post(
        "/v1/events", _event(), headers={"Upshot-Definitions-Revision": str(REVISION + 1)}
    )

    record = await gateway.record(answer.position)
    assert record.recordedtime == SHOWN + timedelta(days=3)
    assert record.definitionsrevision == REVISION + 1
