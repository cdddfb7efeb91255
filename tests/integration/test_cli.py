"""The command line against the whole system: what an operator types, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from contracts.topics import CUSTOMER_EVENTS
from services.runtime.kafka.producer import Outgoing, Producer
from tests.support.eventually import eventually_sync
from tests.support.servers import fresh_database, session_folder
from tests.support.upshot import Upshot, running_upshot

COMMAND_SECONDS = 120
DEFINITIONS = """
kind: event_type
name: {name}
spec:
  properties:
    amount: {{type: number, required: true}}
"""


class Shell:
    """A terminal with the data folder's settings."""

    def __init__(self, upshot: Upshot, kafka: str, prefix: str) -> None:
        self.upshot = upshot
        self._kafka = kafka
        self._prefix = prefix

    def append(self, *values: bytes) -> None:
        """Append to a partition of `customer.events`, past the gateway."""

        async def append() -> None:
            producer = Producer(self._kafka, prefix=self._prefix)
            outgoing = [Outgoing(b"whoever", value) for value in values]
            await producer.append(CUSTOMER_EVENTS, 0, outgoing, deadline_seconds=COMMAND_SECONDS)
            await producer.stop()

        asyncio.run(append())

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `upshot` with these words."""
        inherited = {key: value for key, value in os.environ.items() if key[:6] != "UPSHOT"}
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("upshot")), *words],
            env={
                **inherited,
                "UPSHOT_DATA_DIR": str(self.upshot.data_dir),
                "UPSHOT_PORT": self.upshot.url.rpartition(":")[2],
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command to its end, which is as expected; gives its stdout."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode == code, (words, out, err)
        return out.decode()

    def json(self, *words: str, code: int = 0) -> dict[str, object]:
        """Run a command with --json; gives the one document that it wrote."""
        return msgspec.json.decode(self(*words, "--json", code=code), type=dict[str, object])

    def rows(self, *words: str) -> list[dict[str, object]]:
        """Run a command that lists."""
        return msgspec.convert(self.json(*words)["data"], list[dict[str, object]])

    def count_events(self, name: str) -> int:
        """Count the events of a type that the customers projection has."""
        count, cursor = 0, ""
        while True:
            path = f"/v1/events?event={name}&limit=200{cursor and f'&cursor={cursor}'}"
            answer = self.upshot.request("GET", path)
            assert answer.status == 200, answer.body
            page = json.loads(answer.body)
            count += len(page["data"])
            if page["next_cursor"] is None:
                return count
            cursor = page["next_cursor"]


@pytest.fixture(scope="module")
def shell(kafka: str, postgres: str) -> Generator[Shell]:
    """The whole system on the session's servers, and a terminal."""
    with session_folder() as folder, fresh_database(postgres) as database:
        prefix = f"cli{uuid.uuid4().hex[:8]}-"
        settings = {
            "UPSHOT_KAFKA": kafka,
            "UPSHOT_POSTGRES": database,
            "UPSHOT_TOPIC_PREFIX": prefix,
            "UPSHOT_PARTITIONS": "3",
        }
        with running_upshot(folder / "data", settings) as upshot:
            yield Shell(upshot, kafka, prefix)


@pytest.fixture
def event_type(shell: Shell, tmp_path: Path) -> str:
    """An event type of this test's own, applied."""
    name = f"bought.{uuid.uuid4().hex[:8]}"
    file = tmp_path / "definitions.yaml"
    file.write_text(DEFINITIONS.format(name=name))
    shell("diff", "-f", str(file), code=1)
    applied = shell.json("apply", "-f", str(file))
    assert applied["created"] == [{"kind": "event_type", "name": name}]
    shell("diff", "-f", str(file))
    eventually_sync(
        lambda: (
            shell.upshot.request(
                "POST",
                "/v1/events",
                json.dumps(_event(name, 0)),
                {"Upshot-Definitions-Revision": str(applied["revision"])},
            ).status
            == 200
        )
    )
    return name


def _event(name: str, number: int) -> dict[str, object]:
    return {
        "event": name,
        "customer": {"source_id": f"{name}-{number % 7}"},
        "metadata": {"amount": number},
    }


def _written(file: Path, events: Iterable[object]) -> Path:
    file.write_text("".join(json.dumps(each) + "\n" for each in events))
    return file


@contextmanager
def _running(shell: Shell, *words: str) -> Generator[subprocess.Popen[bytes]]:
    with shell.start(*words) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(300)
def test_a_rebuild_under_traffic_ends_equal_to_live(
    shell: Shell, event_type: str, tmp_path: Path
) -> None:
    reviews = (
        {
            "event": "left_review",
            "customer": {"source_id": f"r{n % 50}"},
            "metadata": {"review_type": "video", "rating": 5},
        }
        for n in range(4_000)
    )
    file = _written(tmp_path / "reviews.ndjson", reviews)
    more = _written(tmp_path / "more.ndjson", (_event(event_type, n) for n in range(2_000)))
    shell("events", "import", str(file))

    with _running(shell, "events", "import", str(more), "--batch", "20") as importing:
        built = shell.json("rebuild", "loyalty")
        compared = shell.json("compare", "loyalty")
        importing.communicate(timeout=COMMAND_SECONDS)
    shown = shell("compare", "loyalty")
    promoted = shell.json("promote", "loyalty")
    rolled_back = shell("rollback", "loyalty")
    verified = shell.rows("verify", "loyalty")
    dropped = shell.json("drop", "loyalty")

    assert importing.returncode == 0
    assert compared["equal"] is True
    assert "Equal after" in shown
    assert promoted["live_generation"] == built["generation"]
    assert "Generation 1 of loyalty is live" in rolled_back
    assert verified == [{"projection": "loyalty", "generation": 1, "broken": []}]
    assert dropped == {"generation": built["generation"]}
    names = [(each["name"], each["state"]) for each in shell.rows("projections")]
    assert names == [("customers", "live"), ("dispatcher", "live"), ("loyalty", "live")]
    shell("drop", "loyalty", code=1)


@pytest.mark.timeout(300)
def test_an_import_killed_on_the_way_and_started_again_counts_every_line_once(
    shell: Shell, event_type: str, tmp_path: Path
) -> None:
    bad = {"event": event_type, "customer": {"source_id": "x"}, "metadata": {"amount": "much"}}
    events = [bad if n % 100 == 42 else _event(event_type, n) for n in range(1_000)]
    file = _written(tmp_path / "events.ndjson", events)
    state = file.with_name("events.ndjson.import-state.json")
    words = ("events", "import", str(file), "--batch", "10")

    with _running(shell, *words) as importing:
        eventually_sync(state.exists, COMMAND_SECONDS)
        importing.send_signal(signal.SIGKILL)
        importing.wait(COMMAND_SECONDS)
    assert state.exists()
    done = shell.json(*words, code=1)

    refused = file.with_name("events.ndjson.refused.ndjson")
    assert done == {
        "lines": 1_000,
        "accepted": 990,
        "refused": 10,
        "refused_file": str(refused),
    }
    lines = [json.loads(each) for each in refused.read_text().splitlines()]
    assert [each["line"] for each in lines] == list(range(43, 1_001, 100))
    assert lines[0]["problem"]["errors"][0]["pointer"] == "/metadata/amount"
    eventually_sync(lambda: shell.count_events(event_type) == 991, COMMAND_SECONDS)


@pytest.mark.timeout(300)
def test_the_activity_log_is_shown_as_it_grows(shell: Shell, event_type: str) -> None:
    with _running(shell, "events", "tail", "--json") as tail:
        assert tail.stdout is not None
        lines: list[dict[str, object]] = []

        def shown() -> bool:
            shell.upshot.request("POST", "/v1/events", json.dumps(_event(event_type, 3)))
            return len(lines) > 0

        os.set_blocking(tail.stdout.fileno(), False)
        output = tail.stdout

        def read() -> bool:
            lines.extend(json.loads(each) for each in output.readlines())
            return shown()

        eventually_sync(read, COMMAND_SECONDS)
        tail.send_signal(signal.SIGINT)
        assert tail.wait(COMMAND_SECONDS) == 0

    assert f"custom_event.{event_type}" in {each["kind"] for each in lines}


@pytest.mark.timeout(300)
def test_a_key_is_made_used_and_revoked(shell: Shell, event_type: str, tmp_path: Path) -> None:
    made = shell.json("keys", "create", "shop", "--scope", "events:write")
    file = str(_written(tmp_path / "one.ndjson", [_event(event_type, 1)]))
    secret = str(made["secret"])

    shell("events", "import", file, "--key", secret)
    shell("topics", "--key", secret, code=1)
    listed = {each["id"] for each in shell.rows("keys", "list")}
    shell("keys", "revoke", str(made["id"]))
    left = {each["id"] for each in shell.rows("keys", "list")}
    shell("keys", "revoke", str(made["id"]), code=1)

    assert listed - left == {made["id"]}


@pytest.mark.timeout(300)
def test_deliveries_are_listed_and_redriven(shell: Shell, tmp_path: Path) -> None:
    review = {
        "event": "left_review",
        "customer": {"source_id": "delivered"},
        "metadata": {"review_type": "video", "rating": 5},
    }
    shell("events", "import", str(_written(tmp_path / "one.ndjson", [review])))
    words = ("deliveries", "list", "--customer", "delivered", "--state", "succeeded")

    found = eventually_sync(lambda: shell.rows(*words) or None, COMMAND_SECONDS)
    again = shell.json("deliveries", "redrive", str(found[0]["id"]))

    assert again["id"] == found[0]["id"]
    assert shell.rows("dead-letters", "list") == []
    assert {"customer.events", "definitions", "operations"} <= {
        each["name"] for each in shell.rows("topics")
    }


@pytest.mark.timeout(300)
def test_dead_letters_are_listed_and_ended(shell: Shell) -> None:
    shell.append(b"no record")
    words = ("dead-letters", "list", "--projection", "loyalty")

    (letter,) = eventually_sync(lambda: shell.rows(*words) or None, COMMAND_SECONDS)
    name = str(letter["id"])
    refused = shell.json("dead-letters", "redrive", name, code=1)
    built = shell.json("rebuild", "loyalty")
    discarded = shell("dead-letters", "discard", name)
    compared = shell.json("compare", "loyalty")
    shell("drop", "loyalty")
    eventually_sync(lambda: len(shell.rows("dead-letters", "list")) == 2, COMMAND_SECONDS)
    all_others = shell.json("dead-letters", "discard", "--all")

    assert refused["refused"] == [
        {"letter": name, "reason": "it is no CloudEvent, it can only be discarded"}
    ]
    assert discarded == "1 dead letter is discarded.\n"
    assert (compared["next_generation"], compared["equal"]) == (built["generation"], True)
    assert len(msgspec.convert(all_others["ended"], list[str])) == 2
    assert shell.rows("dead-letters", "list") == []
    (ended,) = shell.rows(*words, "--all")
    assert (ended["id"], ended["state"]) == (name, "discarded")
    assert str(ended["ended_position"]) in shell("dead-letters", "show", name)
