"""What one wrote is read back over HTTP: timelines, events, ledgers, deliveries, activity."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.support.eventually import eventually_sync
from tests.support.servers import session_folder
from tests.support.upshot import Answer, Upshot, running_upshot

TEST_SECONDS = 180


@pytest.fixture(scope="module")
def upshot() -> Generator[Upshot]:
    with session_folder() as folder, running_upshot(folder / "data") as running:
        yield running


def _send(upshot: Upshot, person: str, *, revision: int = 1, **fields: object) -> tuple[str, str]:
    event = {"event": "left_review", "metadata": {"review_type": "video"}, **fields}
    answer = upshot.request(
        "POST",
        "/v1/events",
        json.dumps({**event, "customer": {"source_id": person}}),
        {"Upshot-Definitions-Revision": str(revision)},
    )
    assert answer.status == 200, answer.body
    return str(json.loads(answer.body)["id"]), answer.headers["upshot-position"]


def _read(upshot: Upshot, path: str, position: str | None = None) -> Any:
    answer = _get(upshot, path, position)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def _get(upshot: Upshot, path: str, position: str | None = None) -> Answer:
    waiting = {} if position is None else {"Upshot-Wait-For": position, "Prefer": "wait=30"}
    return upshot.request("GET", path, headers=waiting)


@pytest.mark.timeout(TEST_SECONDS)
def test_an_event_is_read_back_everywhere(upshot: Upshot) -> None:
    person = "shop/alex é"
    event, position = _send(upshot, person)
    customer = f"/v1/customers/{quote(person, safe='')}"

    profile = _read(upshot, customer, position)
    timeline = _read(upshot, f"{customer}/activity", position)["data"]
    reviews = _read(upshot, f"{customer}/activity?kind=custom_event.left_review")["data"]
    stored = _read(upshot, f"/v1/events/{event}", position)
    listed = _read(upshot, f"/v1/events?event=left_review&customer={profile['id']}")["data"]
    points = _read(upshot, f"/v1/loyalty/rewards/members/{profile['id']}", position)["points"]
    entries = _read(upshot, f"/v1/loyalty/rewards/members/{profile['id']}/entries")["data"]
    deliveries = _read(upshot, f"{customer}/deliveries", position)["data"]

    assert profile["source_id"] == person
    assert [each["kind"] for each in timeline][-1] == "customer.created"
    assert [each["data"]["event"] for each in reviews] == [event]
    assert (stored["id"], stored["outcome"], stored["version"]) == (event, "applied", 1)
    assert [each["id"] for each in listed] == [event]
    assert points["available"] == sum(each["points"] for each in entries) == 150
    assert {each["caused_by"] for each in entries} == {event}
    assert [each["event"] for each in deliveries] == [event]


@pytest.mark.timeout(TEST_SECONDS)
def test_a_delivery_shows_its_attempt_and_begins_anew(upshot: Upshot) -> None:
    event, position = _send(upshot, "dora")
    (delivery,) = _read(upshot, f"/v1/deliveries?event={event}", position)["data"]
    path = f"/v1/deliveries/{delivery['id']}"

    def delivered(attempts: int) -> Any:
        found = _read(upshot, path)
        assert found["state"] == "succeeded" and len(found["attempts"]) == attempts
        return found

    first = eventually_sync(lambda: delivered(1), 30)
    again = upshot.request("POST", f"{path}/redrive")
    eventually_sync(lambda: delivered(2), 30)

    assert first["body"]["data"]["event"]["id"] == event
    assert again.status == 200, again.body


@pytest.mark.timeout(TEST_SECONDS)
def test_another_workspace_reads_nothing_of_it(upshot: Upshot) -> None:
    event, position = _send(upshot, "eve")
    made = upshot.request("POST", "/v1/workspaces", json.dumps({"name": "elsewhere"}))
    assert made.status == 200, made.body
    own = _read(upshot, "/v1/customers/eve", position)["id"]
    key = {"Authorization": f"Bearer {json.loads(made.body)['key']}"}

    for path in (f"events/{event}", "customers/eve", f"customers/{own}", "loyalty/rewards"):
        answer = upshot.request("GET", f"/v1/{path}", headers=key)
        assert answer.status == 404, (path, answer.body)
    for path in ("events", "activity", "deliveries", "customers?email=eve", "dead-letters"):
        answer = upshot.request("GET", f"/v1/{path}", headers=key)
        assert json.loads(answer.body)["data"] == [], path


@pytest.mark.timeout(TEST_SECONDS)
def test_stored_events_hold_their_event_type(upshot: Upshot) -> None:
    path = "/v1/definitions/event_type/visited"
    open_form = {"properties": {"page": {"type": "string"}}}
    made = upshot.request("PUT", path, json.dumps(open_form))
    revision = int(made.headers["upshot-definitions-revision"])
    event, position = _send(
        upshot, "frank", revision=revision, event="visited", metadata={"page": "home"}
    )
    _read(upshot, f"/v1/events/{event}", position)
    narrow = {"properties": {"page": {"type": "string", "enum": ["cart"]}}}
    fitting = {"properties": {"page": {"type": "string", "enum": ["home", "cart"]}}}

    refused = upshot.request("PUT", path, json.dumps(narrow))
    taken = upshot.request("PUT", path, json.dumps(fitting))
    forced = upshot.request("PUT", f"{path}?compatibility=none", json.dumps(narrow))

    assert (refused.status, taken.status, forced.status) == (409, 200, 200), refused.body
    problem = json.loads(refused.body)
    assert problem["key"] == "incompatible_schema"
    assert event in problem["errors"][0]["detail"]


@pytest.mark.timeout(TEST_SECONDS)
def test_a_position_that_is_not_reached_in_time_is_503(upshot: Upshot) -> None:
    ahead = {"Upshot-Wait-For": "customer.events/0/999999", "Prefer": "wait=0"}

    answer = upshot.request("GET", "/v1/activity", headers=ahead)

    assert (answer.status, json.loads(answer.body)["key"]) == (503, "projection_behind")
    assert answer.headers["retry-after"]


@pytest.mark.timeout(TEST_SECONDS)
def test_the_activity_stream_goes_on_behind_the_last_event_id(upshot: Upshot) -> None:
    with _stream(upshot, {}) as first:
        assert first.headers["content-type"] == "text/event-stream"
        start, _ = _next_event(first)
        sent = _send_batch(upshot, "gina", 30)
        told = _entries(first, 10)

    sent += _send_batch(upshot, "hugo", 700)
    with _stream(upshot, {"Last-Event-ID": told[-1][0]}) as again:
        told += _entries(again, 722)  # each customer's creation too
    with _stream(upshot, {"Last-Event-ID": start}) as anew:
        retold = _entries(anew, 732)

    entries = [entry for _, entry in told]
    events = [each["data"]["event"] for each in entries if "event" in each["data"]]
    assert sorted(events) == sorted(sent)
    assert len({each["id"] for each in entries}) == len(entries)
    assert sorted(each["id"] for _, each in retold) == sorted(each["id"] for each in entries)


@pytest.mark.timeout(TEST_SECONDS)
def test_a_tail_loses_nothing_when_the_api_is_killed(upshot: Upshot) -> None:
    settings = {"UPSHOT_URL": upshot.url, "UPSHOT_ADMIN_KEY": upshot.admin_key}
    with _tail(settings) as shown:
        first = eventually_sync(lambda: _shown_events(shown, _send_batch(upshot, "ida", 1)), 60)
        sent = _send_batch(upshot, "jon", 400)
        os.kill(upshot.child_pids()["api"], signal.SIGKILL)
        sent += _send_batch(upshot, "kim", 400)

        def all_shown() -> list[str]:
            ids = [each for each in _events_in(shown) if each in set(sent)]
            assert len(ids) >= len(sent), f"{len(ids)} of {len(sent)}"
            return ids

        told = eventually_sync(all_shown, 60)

    assert first
    assert sorted(told) == sorted(sent)


def _send_batch(upshot: Upshot, person: str, count: int) -> list[str]:
    """Send reviews of one customer; returns the events' ids."""
    review = {
        "event": "left_review",
        "customer": {"source_id": person},
        "metadata": {"review_type": "text"},
    }
    answer = upshot.request("POST", "/v1/events/batch", json.dumps([review] * count))
    results = json.loads(answer.body)["results"]
    assert all("id" in each for each in results), answer.body
    return [each["id"] for each in results]


@contextmanager
def _stream(upshot: Upshot, headers: dict[str, str]) -> Generator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(urlsplit(upshot.url).netloc, timeout=30)
    try:
        given = {"Authorization": f"Bearer {upshot.admin_key}", **headers}
        connection.request("GET", "/v1/activity/stream", headers=given)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        yield answer
    finally:
        connection.close()


def _next_event(stream: http.client.HTTPResponse) -> tuple[str, Any]:
    """Read the id of the next event and its entry; None of one that says only where it is."""
    place, entry = "", None
    while line := stream.readline().strip():
        field, _, value = line.decode().partition(": ")
        place = value if field == "id" else place
        entry = json.loads(value) if field == "data" else entry
    return place, entry


def _entries(stream: http.client.HTTPResponse, count: int) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    while len(found) < count:
        place, entry = _next_event(stream)
        found += [] if entry is None else [(place, entry)]
    return found


@contextmanager
def _tail(settings: dict[str, str]) -> Generator[list[str]]:
    """Run `upshot events tail --json`; gives the lines that it has shown so far."""
    lines: list[str] = []
    command = [str(Path(sys.executable).with_name("upshot")), "events", "tail", "--json"]
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None, "the output is a pipe"
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        reader.join(30)
        process.stdout.close()


def _events_in(lines: list[str]) -> list[str]:
    return [each for line in tuple(lines) if (each := json.loads(line)["data"].get("event"))]


def _shown_events(lines: list[str], sent: list[str]) -> list[str]:
    shown = _events_in(lines)
    assert shown, sent
    return shown
