"""What an event causes, seen from outside: timeline, points, signed webhook."""

from __future__ import annotations

import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta

import pytest

from contracts.codec import decode_object
from contracts.topics import WEBHOOKS
from tests.support.chaos import Inside
from tests.support.eventually import eventually_sync
from tests.support.hook import Hook, Taken, running_hook
from tests.support.talking import Talk, assert_problem, objects, part

RECEIVED_SECONDS = 30.0
CLOCK_SECONDS = 60  # a signature's time against ours

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def hook(talk: Talk, name: str) -> Generator[Hook]:
    """Give a receiver that is told of every video review while the test runs."""
    with running_hook() as running:
        talk.put("endpoint", name, {"url": running.url, "secret": running.secret})
        talk.put(
            "distribution",
            name,
            {
                "on": {"event": "left_review"},
                "if": {"event": "metadata.review_type", "eq": "video"},
                "purpose": "message",
                "endpoint": name,
            },
        )
        yield running
        for kind in ("distribution", "endpoint"):
            gone = talk.ask("DELETE", f"/v1/definitions/{kind}/{name}")
            assert gone.status == 200, gone.body


def _received(hook: Hook, event: str) -> Taken | None:
    for taken in hook.taken:
        if part(decode_object(taken.body), "data", "event", "id") == event:
            return taken
    return None


def test_a_video_review_comes_out_as_timeline_points_and_signed_webhook(
    talk: Talk, name: str, hook: Hook
) -> None:
    told = talk.tell(
        "left_review",
        name,
        customer={"source_id": name, "email": f"{name}@domain.io", "name": "Zoë Doe"},
        metadata={"review_type": "video", "rating": 5, "text": "It fits."},
    )

    taken = eventually_sync(lambda: _received(hook, told.id), RECEIVED_SECONDS)
    _is_signed(hook, taken)
    message = decode_object(taken.body)
    assert message["type"] == "customer.custom_event"
    assert message["source"] == {"object": "distribution", "name": name}
    assert part(message, "data", "customer", "email") == f"{name}@domain.io"
    assert part(message, "data", "event", "metadata") == {
        "review_type": "video",
        "rating": 5,
        "text": "It fits.",
    }
    assert part(message, "data", "referral") is None and part(message, "data", "loyalty") is None

    timeline = talk.listed(f"/v1/customers/{name}/activity", told.position)
    assert [each["kind"] for each in timeline] == ["custom_event.left_review", "customer.created"]
    _points_stand(talk, name, told.id, told.position)
    _delivery_is_told(talk, told.id)
    eventually_sync(lambda: _keys_of(talk, taken) == [told.customer.encode()], RECEIVED_SECONDS)


def _keys_of(talk: Talk, taken: Taken) -> list[bytes]:
    """Return the keys of the records on the topic that have the request's very bytes."""
    records = Inside(talk.upshot).records(WEBHOOKS)
    return [record.key for record in records if record.value == taken.body]


def _is_signed(hook: Hook, taken: Taken) -> None:
    assert taken.headers["webhook-id"] == decode_object(taken.body)["id"]
    assert abs(int(taken.headers["webhook-timestamp"]) - time.time()) < CLOCK_SECONDS
    assert hook.signature_of(taken) in taken.headers["webhook-signature"].split()


def _points_stand(talk: Talk, name: str, event: str, position: str) -> None:
    member = talk.read(f"/v1/loyalty/rewards/members/{name}", position)
    assert part(member, "points") == {
        "available": 150,
        "pending": 0,
        "spent": 0,
        "expired": 0,
        "lifetime": 150,
    }
    entries = talk.listed(f"/v1/loyalty/rewards/members/{name}/entries")
    assert {(each["rule"], each["points"]) for each in entries} == {
        ("review", 50),
        ("video-review", 100),
    }
    for entry in entries:
        assert entry["kind"] == "earned" and entry["caused_by"] == event
        postings = [part(each, "points") for each in objects(entry["postings"])]
        assert sum(each for each in postings if isinstance(each, int)) == 0


def _delivery_is_told(talk: Talk, event: str) -> None:
    def delivered() -> bool:
        found = talk.listed(f"/v1/deliveries?event={event}")
        assert found, "each endpoint has its delivery"
        return all(each["state"] == "succeeded" for each in found)

    eventually_sync(delivered, RECEIVED_SECONDS)
    for each in talk.listed(f"/v1/deliveries?event={event}"):
        attempts = objects(talk.read(f"/v1/deliveries/{each['id']}")["attempts"])
        assert len(attempts) >= 1


def test_a_failed_delivery_is_tried_again_with_the_same_id_and_a_fresh_signature(
    talk: Talk, name: str, hook: Hook
) -> None:
    hook.status = 503

    told = talk.tell("left_review", name, metadata={"review_type": "video"})
    eventually_sync(lambda: _received(hook, told.id), RECEIVED_SECONDS)
    hook.status = 200

    eventually_sync(lambda: len(hook.taken) > 1, RECEIVED_SECONDS)
    assert len({taken.headers["webhook-id"] for taken in hook.taken}) == 1
    assert len({taken.body for taken in hook.taken}) == 1
    for taken in hook.taken:
        _is_signed(hook, taken)


def test_a_text_review_that_the_distribution_does_not_ask_for_is_not_sent(
    talk: Talk, name: str, hook: Hook
) -> None:
    text = talk.tell("left_review", name, metadata={"review_type": "text"})
    video = talk.tell("left_review", name, metadata={"review_type": "video"})

    eventually_sync(lambda: _received(hook, video.id), RECEIVED_SECONDS)
    assert _received(hook, text.id) is None
    assert talk.points(name, text.position, video.position) == 200


def test_a_historical_event_stands_on_the_timeline_and_earns_and_sends_nothing(
    talk: Talk, name: str, hook: Hook
) -> None:
    old = talk.tell("left_review", name, metadata={"review_type": "video"}, historical=True)
    new = talk.tell("left_review", name, metadata={"review_type": "video"})

    eventually_sync(lambda: _received(hook, new.id), RECEIVED_SECONDS)
    assert _received(hook, old.id) is None
    assert talk.points(name, new.position) == 150
    kinds = [each["kind"] for each in talk.listed(f"/v1/customers/{name}/activity", new.position)]
    assert kinds.count("custom_event.left_review") == 2


def test_a_late_event_is_applied_and_sends_nothing(talk: Talk, name: str, hook: Hook) -> None:
    late = (datetime.now(tz=UTC) - timedelta(days=4)).isoformat()

    old = talk.tell("left_review", name, metadata={"review_type": "video"}, occurred_at=late)
    new = talk.tell("left_review", name, metadata={"review_type": "video"})

    eventually_sync(lambda: _received(hook, new.id), RECEIVED_SECONDS)
    assert _received(hook, old.id) is None
    assert talk.points(name, new.position) == 300


def test_a_read_waits_for_what_was_written_and_says_when_it_cannot(talk: Talk, name: str) -> None:
    told = talk.tell("signed_up", name)
    partition, offset = told.position.split("/")[1:]

    assert talk.points(name, told.position) == 100
    behind = talk.ask(
        "GET",
        f"/v1/loyalty/rewards/members/{name}",
        headers={
            "Upshot-Wait-For": f"customer.events/{partition}/{int(offset) + 1_000_000}",
            "Prefer": "wait=1",
        },
    )
    assert "retry-after" in behind.headers
    assert assert_problem(behind, 503)["type"] == "urn:upshot:problem:projection-behind"
    for wrong in ("customer.events/99/0", "no.such.topic/0/0", "x"):
        answer = talk.ask("GET", "/v1/projections", headers={"Upshot-Wait-For": wrong})
        assert_problem(answer, 400)
