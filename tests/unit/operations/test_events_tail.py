"""The activity log as it grows."""

from __future__ import annotations

import msgspec
import pytest

from services.operations import events_tail
from services.operations.events_tail import ServerSentEvent, read_events
from tests.unit.operations.front_door import Answer, Asked, CommandLine, front_door, refusal

ENTRY = b'{"id":"%s","kind":"customer.created","occurred_at":"2026-01-01T00:00:00Z","data":{}}'


def test_events_are_read_as_the_standard_has_them() -> None:
    lines = [
        ": open",
        "",
        "id: 1",
        "event: activity",
        "data: one",
        "",
        "data:two",
        "data:  three",
        "retry: 5",
        "",
        "id: 2",
        "",
        "data: cut off",
    ]

    assert list(read_events(lines)) == [
        ServerSentEvent(id="1", content="one"),
        ServerSentEvent(id="1", content="two\n three"),
        ServerSentEvent(id="2", content=""),
    ]


def test_a_stream_that_broke_off_is_taken_up_behind_its_last_entry(
    upshot: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_tail, "PAUSE_SECONDS", 0.001)
    answers = [
        Answer(text=b": open\nid: start\n\nid: a\ndata: " + ENTRY % b"a" + b"\n\n"),
        refusal(503, "Unavailable", "in a moment"),
        Answer(text=b"id: b\ndata: " + ENTRY % b"b" + b"\n\ndata: {"),
        refusal(403, "The key lacks a scope", "customers:read"),
    ]
    turns = iter(answers)

    def answer(_asked: Asked) -> Answer:
        return next(turns)

    with front_door(answer) as door:
        shown = upshot(door, "events", "tail", "--json")

    assert [msgspec.json.decode(each)["id"] for each in shown.out.splitlines()] == ["a", "b"]
    assert [each.headers.get("last-event-id") for each in door.asked] == [None, "a", "a", "b"]
    assert shown.code == 1
    assert "The key lacks a scope" in shown.err
