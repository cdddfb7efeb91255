"""Taking bodies apart."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway import batches
from services.gateway.batches import Batch
from services.gateway.bounds import BATCH_EVENTS_MAX
from services.gateway.errors import RefusedEventError
from services.gateway.pacing import Pace
from services.runtime.problems import ProblemError
from tests.support.gateway_events import text

JSON = "application/json"
NDJSON = "application/x-ndjson"
ONE = text()
TWO = text(external_id="2")


def take_apart(body: bytes, media: str) -> Batch:
    return asyncio.run(batches.take_apart(body, media, Pace()))


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"[" + ONE + b"," + TWO + b"]", JSON),
        (b" \n[" + ONE + b" , " + TWO + b"] ", ""),
        (b'{"events":[' + ONE + b"," + TWO + b"]}", JSON),
        (b'{"historical":false,"events":[' + ONE + b"," + TWO + b"]}", JSON),
        (ONE + b"\n" + TWO, NDJSON),
        (ONE + b"\r\n\r\n  " + TWO + b"\r\n\n", NDJSON),
    ],
)
def test_each_form_of_a_batch_has_its_events_in_order(body: bytes, media: str) -> None:
    batch = take_apart(body, media)

    assert len(batch.readings) == 2
    assert not any(isinstance(each, bytes) for each in batch.readings), "they were read at once"
    assert [batch.text(0), batch.text(1)] == [ONE, TWO]


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"[" + ONE + b",7]", JSON),
        (b"[" + ONE + b',{"event":"a","event":"a","customer":{}}]', JSON),
        (b"[" + ONE + b',{"event":"\\u0000","customer":{}}]', JSON),
        (b'{"events":[' + ONE + b",null]}", JSON),
        (b"[" + ONE + b',{"event":"\\ud800"}]', JSON),
        (b"[" + ONE + b',{"goal_value":NaN}]', JSON),
        (b' { "historical" : false , "events" : [' + ONE + b',{"event":"\\ud800"} ] } ', JSON),
        (ONE + b"\n{broken\n", NDJSON),
    ],
)
def test_a_batch_with_a_suspicious_event_is_read_one_by_one(body: bytes, media: str) -> None:
    batch = take_apart(body, media)

    assert len(batch.readings) == 2
    assert batch.readings[0] == ONE


@pytest.mark.parametrize(
    ("body", "media", "expected"),
    [
        (b"", JSON, ("", "malformed-json")),
        (b"[" + ONE, JSON, ("", "malformed-json")),
        (b"[" + ONE + b"]x", JSON, ("", "malformed-json")),
        (b"7", JSON, ("", "type")),
        (b"[]", JSON, ("", "count")),
        (b'{"events":[]}', JSON, ("", "count")),
        (b"\n\n", NDJSON, ("", "count")),
        (b"[" + b"{}," * BATCH_EVENTS_MAX + b"{}]", JSON, ("", "count")),
        (b"{}", JSON, ("/events", "required")),
        (b'{"events":{}}', JSON, ("/events", "type")),
        (b'{"events":[' + ONE + b'],"more":1}', JSON, ("/more", "unknown-field")),
        (b'{"events":[' + ONE + b'],"historical":1}', JSON, ("/historical", "type")),
        (b'{"events":[' + ONE + b'],"events":[]}', JSON, ("/events", "duplicate-key")),
        (b'{"events":[{}],"\\ud800":1,"\\ud800":1}', JSON, ("/?", "unknown-field")),
        (b'{"events":["\\ud800"],"more":1}', JSON, ("/more", "unknown-field")),
        (b'{"events":["\\ud800"],"events":[]}', JSON, ("/events", "duplicate-key")),
        (b'{"events":["\\ud800"],"historical":7}', JSON, ("/historical", "type")),
        (b'{"events":["\\ud800"]', JSON, ("", "malformed-json")),
        (b"\xff", JSON, ("", "encoding")),
        (b"[" * 100_000, JSON, ("", "malformed-json")),
    ],
)
def test_a_batch_that_cannot_be_taken_apart_is_refused_as_a_whole(
    body: bytes, media: str, expected: tuple[str, str]
) -> None:
    with pytest.raises(RefusedEventError) as caught:
        take_apart(body, media)

    assert expected in [(fault.pointer, fault.code) for fault in caught.value.faults]


def test_a_batch_says_by_itself_that_it_is_historical() -> None:
    assert take_apart(b'{"events":[' + ONE + b'],"historical":true}', JSON).historical


def test_another_media_type_is_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        take_apart(ONE, "text/csv")

    assert caught.value.problem.status == 415
