"""Versions of one fact, seen from outside: the event, its outcome, the points, the timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from contracts.codec import Json, JsonObject
from tests.support.eventually import eventually_sync
from tests.support.talking import Talk, part

MOVED_SECONDS = 30.0  # another customer's partition, and the record that withdraws

pytestmark = pytest.mark.timeout(240)

NOON = datetime.now(tz=UTC).replace(microsecond=0) - timedelta(hours=12)


def _at(minutes: int) -> str:
    return (NOON + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def _order(name: str, amount: float, **fields: object) -> dict[str, object]:
    return {"external_id": f"order-{name}", "metadata": {"amount": amount}, **fields}


def _event(talk: Talk, event: str, position: str) -> JsonObject:
    return talk.read(f"/v1/events/{event}", position)


def _timeline(
    talk: Talk, name: str, kind: str = "custom_event.order.completed"
) -> list[JsonObject]:
    return talk.listed(f"/v1/customers/{name}/activity?kind={kind}")


def test_a_newer_version_replaces_what_stood_and_its_points(talk: Talk, name: str) -> None:
    first = talk.tell("order.completed", name, **_order(name, 100, occurred_at=_at(0)))
    second = talk.tell("order.completed", name, **_order(name, 59.9, occurred_at=_at(1)))

    assert second.id == first.id
    stored = _event(talk, first.id, second.position)
    assert (stored["outcome"], stored["version"]) == ("replaced", 2)
    assert part(stored, "metadata", "amount") == Decimal("59.9")
    assert talk.points(name, second.position) == 5
    newest, oldest = _timeline(talk, name)
    assert part(newest, "data", "changes", "metadata.amount") == {
        "old": 100,
        "new": Decimal("59.9"),
    }
    assert part(oldest, "data", "version") == 1


def test_an_older_version_is_stale_and_the_same_one_a_duplicate(talk: Talk, name: str) -> None:
    order = _order(name, 100, occurred_at=_at(5))
    first = talk.tell("order.completed", name, **order)
    stale = talk.tell("order.completed", name, **_order(name, 900, occurred_at=_at(4)))
    outcome = _event(talk, first.id, stale.position)["outcome"]
    same = talk.tell("order.completed", name, **order)

    assert outcome == "stale"
    stored = _event(talk, first.id, same.position)
    assert (stored["outcome"], stored["version"]) == ("duplicate", 1)
    assert part(stored, "metadata", "amount") == 100
    assert talk.points(name, same.position) == 10
    assert len(_timeline(talk, name)) == 1


def test_a_deleted_event_counts_nowhere_until_it_is_restored(talk: Talk, name: str) -> None:
    order = _order(name, 200, occurred_at=_at(0))
    first = talk.tell("order.completed", name, **order)
    gone = talk.tell(
        "order.completed",
        name,
        external_id=f"order-{name}",
        deleted_at=_at(9),
        metadata={"amount": 1},
    )
    assert talk.points(name, gone.position) == 0
    deleted = _event(talk, first.id, gone.position)
    back = talk.tell(
        "order.completed",
        name,
        external_id=f"order-{name}",
        deleted_at=None,
        metadata={"amount": 1},
    )

    assert deleted["outcome"] == "deleted" and deleted["deleted_at"] == _at(9)
    restored = _event(talk, first.id, back.position)
    assert restored["outcome"] == "replaced" and restored["deleted_at"] is None
    assert part(restored, "metadata", "amount") == 200, "only the deletion changed"
    assert talk.points(name, back.position) == 20
    assert len(_timeline(talk, name)) == 3


def test_a_producers_id_names_one_event_the_first_wins(talk: Talk, name: str) -> None:
    first = talk.tell("left_review", name, id=f"r-{name}", metadata={"review_type": "text"})
    again = talk.tell("left_review", name, id=f"r-{name}", metadata={"review_type": "video"})

    assert again.id == first.id
    stored = _event(talk, first.id, again.position)
    assert stored["outcome"] == "duplicate"
    assert part(stored, "metadata", "review_type") == "text"
    assert talk.points(name, again.position) == 50


def test_events_without_names_are_each_an_event_of_their_own(talk: Talk, name: str) -> None:
    first = talk.tell("left_review", name, metadata={"review_type": "text"})
    second = talk.tell("left_review", name, metadata={"review_type": "text"})

    assert first.id != second.id
    assert talk.points(name, first.position, second.position) == 100


def test_a_fact_told_for_another_customer_is_withdrawn_from_the_first(
    talk: Talk, name: str
) -> None:
    other = f"{name}-other"
    first = talk.tell("order.completed", name, **_order(name, 100, occurred_at=_at(0)))
    assert talk.points(name, first.position) == 10

    moved = talk.tell("order.completed", other, **_order(name, 150, occurred_at=_at(1)))

    assert moved.id == first.id
    assert talk.points(other, moved.position) == 15
    eventually_sync(lambda: talk.points(name) == 0, MOVED_SECONDS)
    eventually_sync(lambda: _holder(talk, first.id) == moved.customer, MOVED_SECONDS)
    withdrawn = talk.listed(f"/v1/loyalty/rewards/members/{name}/entries")
    assert [each["points"] for each in withdrawn] == [-10, 10]
    assert withdrawn[0]["reverses"] == withdrawn[1]["id"]


def test_a_newer_claim_holds_a_fact_against_a_later_but_older_one(talk: Talk, name: str) -> None:
    other = f"{name}-other"
    newer = talk.tell("order.completed", name, **_order(name, 100, occurred_at=_at(9)))
    older = talk.tell("order.completed", other, **_order(name, 150, occurred_at=_at(1)))

    talk.points(other, older.position)
    eventually_sync(lambda: talk.points(other) == 0, MOVED_SECONDS)
    assert talk.points(name, newer.position) == 10
    assert _holder(talk, newer.id) == newer.customer


def _holder(talk: Talk, event: str) -> Json:
    return part(talk.read(f"/v1/events/{event}"), "customer", "id")


def test_a_refund_takes_back_by_the_same_measure(talk: Talk, name: str) -> None:
    talk.tell("order.completed", name, **_order(name, 109.99))
    refund = talk.tell("order.refunded", name, metadata={"amount": -39.99})

    assert talk.points(name, refund.position) == 7
    newest = talk.listed(f"/v1/loyalty/rewards/members/{name}/entries")[0]
    assert (newest["kind"], newest["points"]) == ("reversed", -3)


def test_a_version_is_judged_by_the_definitions_of_the_first_one(talk: Talk, name: str) -> None:
    program = {"earning_rules": [_rule(10)]}
    talk.put("loyalty_program", name, program)
    first = talk.tell("signed_up", name, external_id=name, occurred_at=_at(0))
    assert talk.points(name, first.position, program=name) == 10
    talk.put("loyalty_program", name, {"earning_rules": [_rule(1000)]})

    second = talk.tell(
        "signed_up", name, external_id=name, occurred_at=_at(1), metadata={"plan": "gold"}
    )

    assert talk.points(name, second.position, program=name) == 10
    third = talk.tell("signed_up", name)
    assert talk.points(name, third.position, program=name) == 1010
    talk.put("loyalty_program", name, {"earning_rules": []})


def _rule(points: int) -> dict[str, object]:
    return {"id": "sign-up", "on": {"event": "signed_up"}, "points": points}


def test_a_batch_keeps_the_order_of_a_customer_and_tells_each_result(talk: Talk, name: str) -> None:
    events = [
        {"event": "order.completed", "customer": {"source_id": name}, **order}
        for order in (
            _order(name, 100, occurred_at=_at(0)),
            _order(name, 200, occurred_at=_at(1)),
            {"metadata": {"amount": "much"}},
            _order(name, 300, occurred_at=_at(2)),
        )
    ]

    answer = talk.ask("POST", "/v1/events/batch", events)

    assert answer.status == 200, answer.body
    said = talk.read(f"/v1/loyalty/rewards/members/{name}", answer.headers["upshot-position"])
    assert part(said, "points", "available") == 30
