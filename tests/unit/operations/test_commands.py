"""What commands show, and how they end."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.operations.front_door import Answer, Asked, CommandLine, front_door, refusal

PARTITION = {"partition": 0, "next_offset": 4, "end_offset": 6, "stopped": "diverged"}
PROJECTION = {
    "name": "loyalty",
    "generation": 3,
    "state": "live",
    "lag_records": 2,
    "staleness_seconds": 1.25,
    "partitions": [PARTITION],
}


def _list(*rows: object, cursor: str | None = None) -> Answer:
    return Answer(value={"object": "list", "data": rows, "next_cursor": cursor})


def test_a_table_shows_what_the_api_lists(upshot: CommandLine) -> None:
    with front_door(lambda _: _list(PROJECTION)) as door:
        shown = upshot(door, "projections")

    assert shown.code == 0
    assert shown.err == ""
    assert shown.out.splitlines()[1].split() == ["loyalty", "3", "live", "4", "2", "1.2"]
    assert "stands still in partition 0 at offset 4: diverged" in shown.out
    assert door.asked[0].headers["authorization"] == "Bearer key-of-a-test"


def test_json_is_all_that_stands_on_stdout(upshot: CommandLine) -> None:
    with front_door(lambda _: _list({**PROJECTION, "more": 1})) as door:
        shown = upshot(door, "projections", "--json")

    assert msgspec.json.decode(shown.out)["data"] == [{**PROJECTION, "more": 1}]
    assert shown.out.count("\n") == 1


def test_lists_are_read_to_their_end_or_to_the_limit(upshot: CommandLine) -> None:
    def page(asked: Asked) -> Answer:
        first = int(asked.query.get("cursor", "0"))
        rows = [_key(each) for each in range(first, first + int(asked.query["limit"]))]
        return _list(*rows, cursor=str(first + len(rows)) if first < 200 else None)

    with front_door(page) as door:
        everything = upshot(door, "keys", "list", "--json")
        some = upshot(door, "keys", "list", "--limit", "120", "--json")

    assert len(msgspec.json.decode(everything.out)["data"]) == 300
    assert len(msgspec.json.decode(some.out)["data"]) == 120


def _key(number: int) -> dict[str, object]:
    at = "2026-01-01T00:00:00Z"
    return {"id": f"key_{number}", "name": "n", "scopes": ["admin"], "created_at": at}


def test_a_problem_is_told_with_its_pointers(upshot: CommandLine) -> None:
    problem = refusal(
        400, "The request is malformed", "two faults", ("/scopes/0", "is no scope"), ("", "is odd")
    )
    with front_door(lambda _: problem) as door:
        shown = upshot(door, "keys", "create", "ci", "--scope", "nonsense", "--json")

    assert shown.code == 1
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "The request is malformed: two faults.",
        "  /scopes/0  is no scope",
        "  /  is odd",
    ]


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "--key"), (403, "upshot keys create"), (503, "/readyz")]
)
def test_a_problem_comes_with_what_to_do(upshot: CommandLine, status: int, hint: str) -> None:
    with front_door(lambda _: refusal(status, "No", "It is so.")) as door:
        shown = upshot(door, "topics")

    assert (shown.code, shown.out) == (1, "")
    assert hint in shown.err


def test_an_answer_of_something_else_is_told(upshot: CommandLine) -> None:
    with front_door(lambda _: Answer(text=b"<html>", status=502)) as door:
        shown = upshot(door, "topics")
    with front_door(lambda _: Answer(text=b"<html>")) as door:
        odd = upshot(door, "topics")

    assert "answered 502 and no problem document" in shown.err
    assert (odd.code, "not of the expected form" in odd.err) == (1, True)


def test_nobody_answering_is_told(upshot: CommandLine) -> None:
    shown = upshot.bare("topics", "--url", "http://127.0.0.1:1", "--key", "k")

    assert shown.code == 1
    assert "Nothing answers at http://127.0.0.1:1. Start Upshot by `upshot run`" in shown.err


@pytest.mark.parametrize(
    "words",
    [
        ("topics", "--url", "ftp://somewhere", "--key", "k"),
        ("topics", "--url", "http://127.0.0.1:99999", "--key", "k"),
        ("topics", "--url", "http://127.0.0.1:1", "--key", "a\nb"),
        ("deliveries", "redrive", "--url", "http://127.0.0.1:1", "--key", "k"),
        ("dead-letters", "redrive", "--url", "http://127.0.0.1:1", "--key", "k"),
        ("dead-letters", "discard", "loyalty.0.1", "--all"),
        ("rebuild",),
        ("nonsense",),
        ("keys", "create", "ci"),
    ],
)
def test_wrong_usage_ends_with_two(upshot: CommandLine, words: tuple[str, ...]) -> None:
    shown = upshot.bare(*words)

    assert (shown.code, shown.out) == (2, "")
    assert shown.err


def test_the_key_comes_from_the_data_folder(
    upshot: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UPSHOT_DATA_DIR", str(tmp_path))
    missing = upshot.bare("topics", "--url", "http://127.0.0.1:1")
    (tmp_path / "admin-key.secret").write_text("from-the-folder\n")

    with front_door(lambda _: _list()) as door:
        monkeypatch.setenv("UPSHOT_URL", door.url)
        shown = upshot.bare("topics")

    assert shown.code == 0
    assert door.asked[0].headers["authorization"] == "Bearer from-the-folder"
    assert "No key is known" in missing.err
    assert list(tmp_path.iterdir()) == [tmp_path / "admin-key.secret"]


def test_what_came_from_elsewhere_cannot_steer_the_terminal(upshot: CommandLine) -> None:
    letter = {
        "id": "loyalty.0.1",
        "projection": "loyalty",
        "position": "customer.events/0/1",
        "at": "2026-01-01T00:00:00Z",
        "reason": "data",
        "detail": "\x1b[2Jgone [red]not red[/red]",
        "state": "open",
        "record": {"b": 1.50},
    }
    with front_door(lambda _: Answer(value=letter)) as door:
        shown = upshot(door, "dead-letters", "show", "loyalty.0.1")

    assert door.asked[0].path == "/v1/dead-letters/loyalty.0.1"
    assert "\\x1b[2Jgone [red]not red[/red]" in shown.out
    assert "\x1b[2J" not in shown.out


def test_a_secret_is_shown_once(upshot: CommandLine) -> None:
    with front_door(lambda _: Answer(value={**_key(1), "secret": "upshot_s"})) as door:
        shown = upshot(door, "keys", "create", "ci", "--scope", "events:write", "--scope", "admin")

    assert "upshot_s" in shown.out
    assert msgspec.json.decode(door.asked[0].body) == {
        "name": "ci",
        "scopes": ["events:write", "admin"],
    }


def test_one_delivery_is_not_several(upshot: CommandLine) -> None:
    with front_door(lambda _: Answer(value={"redriven": 1})) as door:
        shown = upshot(door, "deliveries", "redrive", "--endpoint", "shop")

    assert shown.out == "1 delivery begins anew.\n"


def test_redriving_names_one_or_many(upshot: CommandLine) -> None:
    with front_door(lambda _: Answer(value={"redriven": 3})) as door:
        many = upshot(door, "deliveries", "redrive", "--endpoint", "shop", "--state", "exhausted")

    assert many.out == "3 deliveries begin anew.\n"
    assert (door.asked[0].method, door.asked[0].path) == ("POST", "/v1/deliveries/redrive")
    assert msgspec.json.decode(door.asked[0].body) == {"endpoint": "shop", "state": "exhausted"}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), ("GET", b"")),
        (("--advance", "P3D"), ("POST", b'{"advance":"P3D"}')),
        (("--to", "2031-01-01T00:00:00Z"), ("POST", b'{"to":"2031-01-01T00:00:00Z"}')),
    ],
)
def test_a_clock_is_shown_and_moved(
    upshot: CommandLine, words: tuple[str, ...], asked: tuple[str, bytes]
) -> None:
    shows = {"object": "clock", "clock": "test", "now": "2031-01-01T00:00:00Z"}
    with front_door(lambda _: Answer(value=shows)) as door:
        shown = upshot(door, "clock", *words)

    assert (shown.code, shown.out) == (0, "The test clock shows 2031-01-01 00:00:00Z.\n")
    assert (door.asked[0].method, door.asked[0].body) == asked
    assert door.asked[0].path == "/v1/clock"


def test_a_clock_is_moved_to_one_place(upshot: CommandLine) -> None:
    both = ("--to", "2031-01-01T00:00:00Z", "--advance", "P3D")
    with front_door(lambda _: Answer()) as door:
        shown = upshot(door, "clock", *both)

    assert (shown.code, door.asked) == (2, [])


@pytest.mark.parametrize(
    "words",
    [
        "run",
        "apply",
        "diff",
        "events import",
        "events tail",
        "clock",
        "projections",
        "rebuild",
        "compare",
        "drop",
        "verify",
        "dead-letters list",
        "dead-letters show",
        "dead-letters redrive",
        "dead-letters discard",
        "deliveries list",
        "deliveries redrive",
        "keys create",
        "keys list",
        "keys revoke",
        "topics",
    ],
)
def test_every_command_explains_itself(upshot: CommandLine, words: str) -> None:
    shown = upshot.bare(*words.split(), "--help")

    assert shown.code == 0
    assert f"upshot {words}" in shown.out
    assert words == "run" or all(each in shown.out for each in ("--json", "--url", "--key"))
