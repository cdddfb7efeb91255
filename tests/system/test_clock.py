"""A workspace on a test clock, seen from outside: years pass there while ours stand still."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from contracts.codec import Json, decode_object
from tests.support.eventually import eventually_sync
from tests.support.hook import Hook, running_hook
from tests.support.talking import Method, Talk, assert_problem, part
from tests.support.upshot import Answer, Upshot

RECEIVED_SECONDS = 30.0
WALL_SECONDS = 60  # between two looks at the real time
POINTS = 10

pytestmark = pytest.mark.timeout(240)


class Trial(Talk):
    """A client of a workspace on a test clock."""

    def __init__(self, upshot: Upshot, key: str) -> None:
        super().__init__(upshot)
        self._key = {"Authorization": f"Bearer {key}"}

    def ask(
        self,
        method: Method,
        path: str,
        document: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return super().ask(method, path, document, {**self._key, **(headers or {})})

    def now(self) -> datetime:
        """What the clock shows."""
        return _instant(self.read("/v1/clock")["now"])

    def move(self, **where: str) -> list[str]:
        """Move the clock; answers the positions, one of each partition."""
        answer = self.ask("POST", "/v1/clock", where)
        assert answer.status == 200, answer.body
        self.revision = int(answer.headers["upshot-definitions-revision"])
        return answer.headers["upshot-position"].split(", ")


@pytest.fixture
def hook() -> Generator[Hook]:
    with running_hook() as running:
        yield running


@pytest.fixture
def trial(upshot: Upshot, talk: Talk, name: str, hook: Hook) -> Trial:
    """Give a new workspace where each event ``name`` earns points and goes to the hook."""
    made = talk.ask("POST", "/v1/workspaces", {"name": name, "clock": "test"})
    assert made.status == 200, made.body
    trial = Trial(upshot, str(decode_object(made.body)["key"]))
    rule = {"id": "each", "on": {"event": name}, "points": POINTS}
    trial.put("event_type", name, {"additional_properties": "allow"})
    trial.put("loyalty_program", name, {"earning_rules": [rule]})
    trial.put("endpoint", name, {"url": hook.url, "secret": hook.secret})
    trial.put("distribution", name, {"on": {"event": name}, "endpoint": name})
    return trial


def _instant(value: Json) -> datetime:
    return datetime.fromisoformat(str(value))


def test_what_happens_on_a_test_clock_happens_when_it_says(trial: Trial, name: str) -> None:
    began = trial.now()
    assert abs((began - datetime.now(tz=UTC)).total_seconds()) < WALL_SECONDS

    first = trial.tell(name, name)
    positions = trial.move(advance="P3D")
    second = trial.tell(name, name)

    later = began + timedelta(days=3)
    assert trial.now() == later
    assert [_instant(each.whole["occurred_at"]) for each in (first, second)] == [began, later]
    timeline = trial.listed(
        f"/v1/customers/{name}/activity", first.position, second.position, *positions
    )
    recorded = [_instant(each["recorded_at"]) for each in timeline]
    assert recorded == [later, began, began]  # the second, the first, and the customer's creation
    entries = trial.listed(f"/v1/loyalty/{name}/members/{name}/entries", second.position)
    assert [_instant(each["at"]) for each in entries] == [later, began]
    assert [each["position"] for each in entries] == [second.position, first.position]


def test_events_of_years_to_come_are_taken_when_the_clock_says_so(trial: Trial, name: str) -> None:
    trial.move(advance="P10Y")
    now = trial.now()

    ahead = trial.ask("POST", "/v1/events", _event(name, now + timedelta(minutes=6)))
    told = trial.tell(name, name, occurred_at=(now + timedelta(minutes=4)).isoformat())
    old = trial.tell(name, name, occurred_at=datetime.now(tz=UTC).isoformat())

    assert_problem(ahead, 400, "/occurred_at")
    assert _instant(told.whole["created_at"]) == now
    assert trial.points(name, told.position, old.position, program=name) == 2 * POINTS


def _event(name: str, occurred_at: datetime) -> dict[str, object]:
    return {
        "event": name,
        "customer": {"source_id": name},
        "occurred_at": occurred_at.isoformat(),
    }


def test_a_webhook_tells_the_clocks_time_and_is_signed_by_the_real_one(
    trial: Trial, name: str, hook: Hook
) -> None:
    trial.move(advance="P1Y")
    late = trial.tell(name, name, occurred_at=datetime.now(tz=UTC).isoformat())
    told = trial.tell(name, name)

    taken = eventually_sync(lambda: hook.taken[0] if hook.taken else None, RECEIVED_SECONDS)

    message = decode_object(taken.body)
    assert part(message, "data", "event", "id") == told.id != late.id
    assert _instant(message["timestamp"]) == trial.now()
    assert abs(int(taken.headers["webhook-timestamp"]) - time.time()) < WALL_SECONDS


def test_points_adjusted_on_a_test_clock_bear_its_time(trial: Trial, name: str) -> None:
    trial.tell(name, name)
    trial.move(advance="P1M")

    answer = trial.ask(
        "POST",
        f"/v1/loyalty/{name}/members/{name}/adjust",
        {"points": 5},
        {"Idempotency-Key": "gift"},
    )

    assert answer.status == 200, answer.body
    assert _instant(decode_object(answer.body)["at"]) == trial.now()


def test_other_workspaces_do_not_notice(trial: Trial, talk: Talk, name: str) -> None:
    trial.move(advance="P5Y")

    told = talk.tell("left_review", name, metadata={"review_type": "text"})

    created_at = _instant(told.whole["created_at"])
    assert abs((created_at - datetime.now(tz=UTC)).total_seconds()) < WALL_SECONDS
    (entry, *_) = talk.listed(f"/v1/customers/{name}/activity", told.position)
    recorded_at = _instant(entry["recorded_at"])
    assert abs((recorded_at - created_at).total_seconds()) < WALL_SECONDS
    assert decode_object(talk.ask("GET", "/v1/clock").body)["clock"] == "system"
