"""What one wrote is read back over HTTP: timelines, events, ledgers, deliveries, activity."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator
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
def test_the_activity_stream_tells_what_happens(upshot: Upshot) -> None:
    connection = http.client.HTTPConnection(urlsplit(upshot.url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {upshot.admin_key}"}
    connection.request("GET", "/v1/activity/stream", headers=headers)
    stream = connection.getresponse()
    assert stream.readline() == b": open\n"

    event, _ = _send(upshot, "gina")
    told: list[Any] = []
    while not any(each["data"].get("event") == event for each in told):
        line = stream.readline()
        if line.startswith(b"data: "):
            told.append(json.loads(line.removeprefix(b"data: ")))
    connection.close()

    assert stream.headers["content-type"] == "text/event-stream"
    assert len({each["id"] for each in told}) == len(told)
