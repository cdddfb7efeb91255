"""Operations: asked for, followed through absences, reported."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from services.operations import following
from tests.unit.operations.front_door import Answer, Asked, CommandLine, front_door, refusal

COMPARISON = {
    "equal": False,
    "live_generation": 1,
    "next_generation": 2,
    "offsets": {"0": 5, "1": 7},
    "tables": [
        {
            "table": "entries",
            "live_rows": 3,
            "next_rows": 2,
            "equal": False,
            "only_live": ["(a)"],
            "only_next": [],
        }
    ],
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(following, "UNTAKEN_SECONDS", 0.0)


def _state(state: str, report: object = None, *, verb: str = "rebuild") -> Answer:
    progress = {"generation": 2, "applied_records": 3, "total_records": 12}
    value = {"id": "op_1", "projection": "loyalty", "verb": verb, "state": state}
    return Answer(value={**value, "progress": progress, "report": report})


def _in_turn(*answers: Answer) -> Iterator[Answer]:
    yield from answers
    while True:
        yield answers[-1]


def test_a_rebuild_is_followed_through_absences_of_the_api(upshot: CommandLine) -> None:
    report = {"generation": 2, "applied_records": 12, "total_records": 12}
    answers = _in_turn(
        _state("requested"),
        _state("requested"),
        refusal(503, "Unavailable for the moment", "The api cannot be reached."),
        _state("running"),
        _state("succeeded", report),
    )

    with front_door(lambda _: next(answers)) as door:
        shown = upshot(door, "rebuild", "loyalty", "--json")

    assert shown.code == 0
    assert msgspec.json.decode(shown.out) == report
    assert "Is `python -m projections.loyalty` running?" in shown.err
    assert msgspec.json.decode(door.asked[0].body) == {"verb": "rebuild", "projection": "loyalty"}
    assert {each.path for each in door.asked[1:]} == {"/v1/operations/op_1"}


def test_a_failed_operation_ends_with_its_reason(upshot: CommandLine) -> None:
    with front_door(lambda _: _state("failed", {"reason": "it is live"}, verb="drop")) as door:
        shown = upshot(door, "drop", "loyalty", "--generation", "4")

    assert (shown.code, shown.out) == (1, "")
    assert "drop of loyalty failed: it is live" in shown.err
    assert msgspec.json.decode(door.asked[0].body)["generation"] == 4


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_difference_ends_a_compare_with_one(upshot: CommandLine, form: tuple[str, ...]) -> None:
    with front_door(lambda _: _state("succeeded", COMPARISON, verb="compare")) as door:
        shown = upshot(door, "compare", "loyalty", *form)

    assert shown.code == 1
    if form:
        assert msgspec.json.decode(shown.out) == COMPARISON
    else:
        assert "only in generation 1: entries (a)" in shown.out
        assert "Different after 12 records" in shown.out


def test_equal_generations_end_a_compare_with_nought(upshot: CommandLine) -> None:
    equal = {**COMPARISON, "equal": True, "tables": []}
    with front_door(lambda _: _state("succeeded", equal, verb="compare")) as door:
        shown = upshot(door, "compare", "loyalty")

    assert (shown.code, "Equal after 12 records" in shown.out) == (0, True)


def test_a_broken_law_ends_a_verify_with_one(upshot: CommandLine) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path == "/v1/projections":
            common: dict[str, object] = {
                "generation": 1,
                "lag_records": 0,
                "staleness_seconds": 0,
                "partitions": [],
            }
            rows = [
                {"name": "customers", "state": "live", **common},
                {"name": "loyalty", "state": "building", **common},
                {"name": "loyalty", "state": "live", **common},
            ]
            return Answer(value={"data": rows})
        about = asked.body and msgspec.json.decode(asked.body)["projection"]
        broken = ["entry 1 does not balance"] if about != "customers" else []
        return _state("succeeded", {"generation": 1, "broken": broken}, verb="verify")

    with front_door(answer) as door:
        shown = upshot(door, "verify")
        alone = upshot(door, "verify", "customers", "--json")

    assert shown.code == 1
    assert "loyalty: entry 1 does not balance" in shown.out
    assert [each.path for each in door.asked].count("/v1/operations") == 3
    assert msgspec.json.decode(alone.out)["data"][0]["projection"] == "customers"


def test_who_stops_looking_is_told_how_to_look_again(
    upshot: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    with front_door(lambda _: _state("running")) as door:
        monkeypatch.setattr(following.time, "sleep", interrupted)
        shown = upshot(door, "rebuild", "loyalty")

    assert (shown.code, shown.out) == (1, "")
    assert "The operation op_1 goes on: `upshot projections`" in shown.err
    assert f"{door.url}/v1/operations/op_1" in shown.err


def test_a_rebuild_beside_another_is_refused_in_words(upshot: CommandLine) -> None:
    detail = "A rebuild of loyalty is under way: op_1 is filling generation 2."

    with front_door(lambda _: refusal(409, "Conflict", detail)) as door:
        shown = upshot(door, "rebuild", "loyalty")

    assert (shown.code, shown.out, shown.err) == (1, "", f"Conflict: {detail}\n")
