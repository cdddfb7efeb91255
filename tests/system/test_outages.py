"""The broker away: 503 in time, nothing half done, and recovery by itself."""

from __future__ import annotations

import os
import signal
import time

import pytest

from contracts.codec import decode_object
from contracts.places import parse_position
from tests.support.chaos import PROJECTIONS, Inside, frozen
from tests.support.eventually import eventually_sync
from tests.support.talking import Talk, assert_problem, part
from tests.support.upshot import Answer

DEADLINE_SECONDS = 15.0  # two appends of 5 s, and a machine that is busy elsewhere
BACK_SECONDS = 90.0

pytestmark = pytest.mark.timeout(300)


def _review(name: str) -> dict[str, object]:
    return {
        "event": "left_review",
        "id": f"review-{name}",
        "customer": {"source_id": name},
        "metadata": {"review_type": "text"},
    }


def test_a_broker_that_does_not_answer_is_a_503_in_time_and_sending_again_is_safe(
    talk: Talk, name: str
) -> None:
    first = talk.tell("signed_up", name)
    kafka = talk.upshot.child_pids()["kafka"]
    with frozen(kafka):
        started = time.monotonic()
        answer = talk.ask("POST", "/v1/events", _review(name))
        took_seconds = time.monotonic() - started

    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert took_seconds < DEADLINE_SECONDS
    _comes_back(talk, name, first.position)


def test_a_killed_broker_is_a_503_in_time_and_comes_back(talk: Talk, name: str) -> None:
    first = talk.tell("signed_up", name)
    kafka = talk.upshot.child_pids()["kafka"]
    os.kill(kafka, signal.SIGKILL)

    started = time.monotonic()
    answer = talk.ask("POST", "/v1/events", _review(name))

    assert time.monotonic() - started < DEADLINE_SECONDS
    if answer.status != 200:  # a broker that was restarted within the deadline has taken it
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    _comes_back(talk, name, first.position)


def test_postgres_away_leaves_known_customers_in_and_everything_comes_back(
    talk: Talk, name: str
) -> None:
    first = talk.tell("signed_up", name)
    postgres = talk.upshot.child_pids()["postgres"]
    with frozen(postgres):
        known = talk.ask("POST", "/v1/events", _review(name))

    assert known.status == 200, known.body
    _comes_back(talk, name, first.position)


def _comes_back(talk: Talk, name: str, before: str) -> None:
    """Send again until it is accepted, and see its effect once in every read model."""
    told = eventually_sync(lambda: _accepted(talk, name), BACK_SECONDS)
    position = str(decode_object(told.body)["position"])
    eventually_sync(lambda: _points(talk, name, before, position) == 150, BACK_SECONDS)
    inside = Inside(talk.upshot)
    for projection in PROJECTIONS:
        eventually_sync(
            lambda each=projection: inside.has_applied(each, parse_position(position)), BACK_SECONDS
        )


def _accepted(talk: Talk, name: str) -> Answer:
    answer = talk.ask("POST", "/v1/events", _review(name))
    assert answer.status in {200, 503}, answer.body
    assert answer.status == 200, "not back yet"
    return answer


def _points(talk: Talk, name: str, *positions: str) -> object:
    headers = {"Upshot-Wait-For": ", ".join(positions), "Prefer": "wait=30"}
    answer = talk.ask("GET", f"/v1/loyalty/rewards/members/{name}", headers=headers)
    assert answer.status in {200, 503}, answer.body
    assert answer.status == 200, "not back yet"
    return part(decode_object(answer.body), "points", "available")
