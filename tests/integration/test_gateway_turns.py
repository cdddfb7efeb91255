"""Whatever one request asks for, others are answered meanwhile."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from contracts.codec import encode
from services.gateway import intake
from services.gateway.__main__ import COLLECT_AFTER
from services.gateway.bounds import BATCH_BYTES_MAX
from tests.support.gateway import EVENT_TYPES, Gateway, gateway_settings, prepare, running_gateway
from tests.support.servers import fresh_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD_SECONDS_MAX = 0.5
"""Between two answers of /healthz: the goal is a tenth of a second, on a machine of one's own."""
ANSWER_BYTES_MAX = 16 * 1024 * 1024
START = b'{"event":"signed_up","customer":{"source_id":"a"},'
NUMBERED = ",".join(f'"{index}":1' for index in range(5_000)).encode()
MATCHED = {"type": "string", "pattern": "^(a|b|ab)*c$", "minLength": 1}
COSTLY = {"type": "object", "properties": {"items": {"items": {"allOf": [MATCHED, MATCHED]}}}}
COSTLY_EVENT = {
    "event": "costly",
    "customer": {"source_id": "a"},
    "metadata": {"items": ["abababc"] * 3_000},
}


def in_array(event: bytes, count: int) -> bytes:
    return b"[" + b",".join([event] * count) + b"]"


BODIES: dict[str, bytes] = {
    "fields nobody knows": b"{" + ",".join(f'"{i}":1' for i in range(700_000)).encode() + b"}",
    "zeros": b"[" + b"0," * 4_000_000 + b"0]",
    "nesting": in_array(START + b'"metadata":' + b'{"a":' * 60 + b"1" + b"}" * 61, 9_000),
    "events of unknown fields": in_array(START + NUMBERED + b"}", 150),
    "one event of objects": b"[" + b'{"a":' * 1_200_000 + b"1" + b"}" * 1_200_000 + b"]",
    "one event of arrays": in_array(START + b'"metadata":{"a":[' + b"[]," * 2_700_000 + b"0]}}", 1),
    "one event of strings": in_array(
        START + b'"metadata":{"a":[' + b'"",' * 2_700_000 + b"0]}}", 1
    ),
    "a long string": b'["' + b"\\n" * 4_000_000 + b'"]',
    "blank lines": b"[" + b" \n" * 4_000_000 + b"]",
    "half of everything": (b"[" + START + b'"metadata":{"a":["\\ud800",' * 300_000)[:8_000_000],
    "a costly schema": in_array(encode(COSTLY_EVENT), 200),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(kafka: str, postgres: str) -> AsyncGenerator[Gateway]:
    with fresh_database(postgres) as database:
        settings = gateway_settings(kafka, database, f"t{uuid.uuid4().hex[:12]}-")
        await prepare(settings, {**EVENT_TYPES, "costly": {"json_schema": COSTLY}})
        before = gc.get_threshold()
        gc.set_threshold(*COLLECT_AFTER)  # as its process does
        async with running_gateway(settings) as running:
            yield running
        gc.set_threshold(*before)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("media", ["application/json", "application/x-ndjson"])
async def test_others_are_answered_while_a_large_body_is_worked_on(
    gateway: Gateway, body: bytes, media: str
) -> None:
    assert len(body) <= BATCH_BYTES_MAX
    sending = asyncio.create_task(
        gateway.post("/v1/events/batch", body, headers={"Content-Type": media})
    )
    longest = 0.0
    while not sending.done():
        asked_at = time.perf_counter()
        health = await gateway.request("GET", "/healthz", key="")
        longest = max(longest, time.perf_counter() - asked_at)
        assert health.status == 200
    answer = await sending

    assert answer.status in {200, 400, 413, 429}, answer.body[:300]
    assert answer.headers["X-Request-Id"]
    assert len(answer.body) < ANSWER_BYTES_MAX
    assert longest < HELD_SECONDS_MAX


async def test_what_is_left_of_a_batch_that_asks_for_too_much_is_to_be_sent_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "BATCH_WORK_SECONDS_MAX", 0.0)

    answer = await gateway.post("/v1/events/batch", in_array(START[:-1] + b"}", 5_000))

    assert answer.status == 200
    accepted, refused = answer.json["accepted"], answer.json["refused"]
    assert isinstance(accepted, int) and isinstance(refused, int)
    assert (accepted + refused, accepted > 0, refused > 0) == (5_000, True, True)
    assert answer.body.count(b"urn:upshot:problem:too-many-requests") == refused
