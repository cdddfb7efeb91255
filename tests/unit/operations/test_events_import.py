"""An import: everything is accepted or told, and it goes on where it stopped."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from services.operations import events_import
from tests.unit.operations.front_door import Answer, Asked, CommandLine, front_door, refusal


class Log:
    """What a front door accepted, by id, in order."""

    def __init__(self, *, breaks_after: int = 10**9) -> None:
        self.ids: list[str] = []
        self.requests = 0
        self.breaks_after = breaks_after

    def __call__(self, asked: Asked) -> Answer:
        """Take a batch; from some request on, take it and break off without an answer."""
        self.requests += 1
        if asked.path != "/v1/events/batch":
            return refusal(404, "Not found", asked.path)
        results: list[object] = []
        for index, line in enumerate(asked.body.split(b"\n")):
            event = msgspec.json.decode(line, type=dict[str, object])
            if event.get("event") == "bad":
                results.append({"index": index, "problem": {"title": "Bad", "status": 400}})
            elif event["id"] not in self.ids:
                self.ids.append(str(event["id"]))
        if self.requests > self.breaks_after:
            return refusal(500, "Broken", "The answer was lost.")
        accepted = len(asked.body.split(b"\n")) - len(results)
        return Answer(value={"accepted": accepted, "refused": len(results), "results": results})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_import, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(events_import, "RETRY_SECONDS", 0.1)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write an input of events."""

    def write(*events: object) -> Path:
        file = tmp_path / "events.ndjson"
        file.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in events))
        return file

    return write


def _names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_refusals_are_written_with_line_and_problem(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    file = written({"event": "a"}, {"event": "bad"}, {"event": "c"}, {"event": "bad"})

    with front_door(Log()) as door:
        shown = upshot(door, "events", "import", str(file), "--batch", "2", "--historical")

    refused = file.with_name("events.ndjson.refused.ndjson")
    assert shown.code == 1
    assert "2 events accepted, 2 refused." in shown.out
    assert str(refused) in shown.out
    lines = [msgspec.json.decode(each) for each in refused.read_bytes().splitlines()]
    assert [each["line"] for each in lines] == [2, 4]
    assert lines[0]["problem"] == {"title": "Bad", "status": 400}
    assert door.asked[0].query == {"results": "refused", "historical": "true"}
    assert _names(file.parent) == {file.name, refused.name}


def test_an_import_without_refusals_leaves_nothing_behind(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    file = written({"event": "a"}, {"event": "b"})
    file.with_name("events.ndjson.refused.ndjson").write_text("of an earlier import\n")

    with front_door(Log()) as door:
        shown = upshot(door, "events", "import", str(file), "--json")

    assert shown.code == 0
    assert msgspec.json.decode(shown.out) == {
        "lines": 2,
        "accepted": 2,
        "refused": 0,
        "refused_file": None,
    }
    assert _names(file.parent) == {file.name}


def test_an_import_goes_on_where_it_broke_off_and_sends_no_event_twice(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    events = [{"event": "bad" if n % 7 == 3 else f"e{n}"} for n in range(20)]
    file = written(*events)
    log = Log(breaks_after=3)

    with front_door(log) as door:
        broken = upshot(door, "events", "import", str(file), "--batch", "3")
        log.breaks_after = 10**9
        done = upshot(door, "events", "import", str(file), "--batch", "4", "--json")

    assert broken.code == 1
    assert "Run the same command again" in broken.err
    assert "Going on after line 9" in done.err
    assert len(log.ids) == len(set(log.ids)) == 17
    assert [each.rpartition(".")[2] for each in log.ids] == [
        str(n + 1) for n in range(20) if n % 7 != 3
    ]
    assert msgspec.json.decode(done.out)["accepted"] == 17
    refused = file.with_name("events.ndjson.refused.ndjson").read_bytes().splitlines()
    assert [msgspec.json.decode(each)["line"] for each in refused] == [4, 11, 18]
    assert not file.with_name("events.ndjson.import-state.json").exists()


def test_an_import_goes_on_only_in_the_same_input_and_the_same_way(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    file = written(*({"event": f"e{n}"} for n in range(9)))
    log = Log(breaks_after=1)

    with front_door(log) as door:
        upshot(door, "events", "import", str(file), "--batch", "3")
        log.breaks_after = 10**9
        otherwise = upshot(door, "events", "import", str(file), "--historical")
        written(*({"event": f"x{n}"} for n in range(9)))
        changed = upshot(door, "events", "import", str(file))
        grown = written(*({"event": f"e{n}"} for n in range(11)))
        done = upshot(door, "events", "import", str(grown), "--json")

    assert (otherwise.code, changed.code, done.code) == (1, 1, 0)
    assert "without --historical" in otherwise.err
    assert "has changed in its first" in changed.err
    assert msgspec.json.decode(done.out)["accepted"] == 11
    assert len(set(log.ids)) == 11


def test_a_front_door_away_for_a_moment_is_waited_for(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    log = Log()
    answers = [refusal(503, "Unavailable", "no log"), refusal(429, "Slow down", "behind")]

    with front_door(lambda asked: answers.pop() if answers else log(asked)) as door:
        shown = upshot(door, "events", "import", str(written({"event": "a"})), "--json")

    assert shown.code == 0
    assert len(log.ids) == 1
    assert len({each.body for each in door.asked}) == 1
    assert shown.err.count("Trying again") == 1


def test_a_refused_key_ends_an_import_at_once(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    with front_door(lambda _: refusal(403, "The key lacks a scope", "events:write")) as door:
        shown = upshot(door, "events", "import", str(written({"event": "a"})))

    assert (shown.code, len(door.asked)) == (1, 1)


def test_a_file_that_cannot_be_read_is_told(upshot: CommandLine, tmp_path: Path) -> None:
    with front_door(Log()) as door:
        missing = upshot(door, "events", "import", str(tmp_path / "none"))
        folder = upshot(door, "events", "import", str(tmp_path))

    assert (missing.code, folder.code) == (1, 1)
    assert "cannot be read (No such file or directory)" in missing.err
    assert "cannot be read (Is a directory)" in folder.err


def test_an_empty_file_is_an_import_of_nothing(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    with front_door(Log()) as door:
        shown = upshot(door, "events", "import", str(written()))

    assert (shown.code, door.asked) == (0, [])


def test_stdin_is_read_once_and_keeps_no_state(
    upshot: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    os.write(writing, b'{"event":"a"}\n{"event":"bad"}\n')
    os.close(writing)
    log = Log()

    with front_door(log) as door, os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        shown = upshot(door, "events", "import", "-", "--json")

    assert (shown.code, len(log.ids)) == (1, 1)
    assert _names(tmp_path) == {"stdin.refused.ndjson"}


def test_one_file_is_imported_once_at_a_time(
    upshot: CommandLine, written: Callable[..., Path]
) -> None:
    file = written({"event": "a"})

    with front_door(Log()) as door, file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        shown = upshot(door, "events", "import", str(file))

    assert (shown.code, door.asked) == (1, [])
    assert "Another import of" in shown.err
