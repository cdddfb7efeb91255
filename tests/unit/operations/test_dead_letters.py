"""Redriving and discarding: what is asked for, and how what became of it is told."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.unit.operations.front_door import Answer, Asked, CommandLine, front_door

Report = dict[str, list[str] | list[dict[str, str]]]
NOTHING: Report = {"ended": [], "died_again": [], "not_open": [], "refused": []}


def _letter(letter: str) -> dict[str, str]:
    return {
        "id": letter,
        "projection": letter.partition(".")[0],
        "position": "customer.events/0/1",
        "at": "2026-01-01T00:00:00Z",
        "reason": "data",
        "detail": "",
        "state": "open",
    }


def _door(report: Report, *letters: str) -> Callable[[Asked], Answer]:
    """Answer lists with these letters, and each operation with this report."""

    def answer(asked: Asked) -> Answer:
        if asked.path == "/v1/dead-letters":
            rows = [_letter(each) for each in letters]
            return Answer(value={"object": "list", "data": rows, "next_cursor": None})
        body = asked.body if asked.method == "POST" else b"{}"
        request = msgspec.json.decode(body, type=dict[str, object])
        operation = {
            "id": "op_1",
            "projection": request.get("projection", "loyalty"),
            "verb": request.get("verb", "redrive"),
            "state": "requested" if asked.method == "POST" else "succeeded",
            "progress": {},
            "report": report,
        }
        return Answer(value=operation, status=202 if asked.method == "POST" else 200)

    return answer


def _requests(asked: list[Asked]) -> list[object]:
    return [msgspec.json.decode(each.body) for each in asked if each.method == "POST"]


def test_named_letters_are_asked_for_by_projection(upshot: CommandLine) -> None:
    report = {**NOTHING, "ended": ["loyalty.0.1"]}
    with front_door(_door(report)) as door:
        named = ("loyalty.0.1", "customers.2.7", "loyalty.1.4")
        shown = upshot(door, "dead-letters", "discard", *named)

    assert (shown.code, shown.out) == (0, "2 dead letters are discarded.\n")
    assert _requests(door.asked) == [
        {"verb": "discard", "projection": "customers", "letters": ["customers.2.7"]},
        {"verb": "discard", "projection": "loyalty", "letters": ["loyalty.0.1", "loyalty.1.4"]},
    ]


def test_all_are_those_that_are_open_now(upshot: CommandLine) -> None:
    report = {**NOTHING, "ended": ["loyalty.0.1"]}
    with front_door(_door(report, "loyalty.0.1")) as door:
        shown = upshot(door, "dead-letters", "redrive", "--all", "--projection", "loyalty")

    assert (shown.code, shown.out) == (0, "1 dead letter is redriven.\n")
    assert door.asked[0].query["state"] == "open"
    assert door.asked[0].query["projection"] == "loyalty"
    assert _requests(door.asked) == [
        {"verb": "redrive", "projection": "loyalty", "letters": ["loyalty.0.1"]}
    ]


def test_what_failed_again_or_cannot_be_redriven_is_told_and_ends_with_one(
    upshot: CommandLine,
) -> None:
    report: Report = {
        "ended": ["loyalty.0.1"],
        "died_again": ["loyalty.0.9"],
        "not_open": ["loyalty.0.2"],
        "refused": [{"letter": "loyalty.0.3", "reason": "it is no CloudEvent"}],
    }
    with front_door(_door(report)) as door:
        shown = upshot(door, "dead-letters", "redrive", "loyalty.0.1", "loyalty.0.2", "loyalty.0.3")
        told = upshot(door, "dead-letters", "redrive", "loyalty.0.1", "--json")

    assert shown.code == 1
    assert "Not open any more: loyalty.0.2." in shown.out
    assert "`upshot dead-letters show loyalty.0.9` says why" in shown.err
    assert "loyalty.0.3: it is no CloudEvent" in shown.err
    assert msgspec.json.decode(told.out) == report


def test_a_list_is_of_open_letters_unless_all_are_wanted(upshot: CommandLine) -> None:
    with front_door(_door(NOTHING, "loyalty.0.1")) as door:
        upshot(door, "dead-letters", "list")
        upshot(door, "dead-letters", "list", "--all")

    assert [each.query.get("state") for each in door.asked] == ["open", None]
