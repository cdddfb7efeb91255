"""Limits of an earning rule, seen from outside: what they leave, and what a correction frees."""

from __future__ import annotations

import pytest

from tests.support.talking import Talk, assert_problem

pytestmark = pytest.mark.timeout(240)

DAY = "2026-03-29"


def test_a_rule_gives_what_its_limits_leave_until_a_correction_makes_room(
    talk: Talk, name: str
) -> None:
    rule = {
        "id": "order",
        "on": {"event": name},
        "points": 40,
        "limits": [{"points": 100, "per": "year"}, {"times": 2, "per": "day"}],
    }
    talk.put("event_type", name, {"additional_properties": "allow"})
    talk.put("loyalty_program", name, {"earning_rules": [rule]})

    def tell(order: str, occurred_at: str, **fields: object) -> str:
        fields = {"external_id": order, "occurred_at": occurred_at, **fields}
        return talk.tell(name, name, **fields).position

    tell("first", f"{DAY}T08:00:00Z")
    tell("second", f"{DAY}T09:00:00Z")
    third = tell("third", f"{DAY}T10:00:00Z")
    assert talk.points(name, third, program=name) == 80
    other_day = tell("other day", "2026-03-31T10:00:00Z")
    assert talk.points(name, other_day, program=name) == 100

    gone = tell("first", f"{DAY}T08:00:00Z", deleted_at=f"{DAY}T12:00:00Z")
    assert talk.points(name, gone, program=name) == 60
    late = tell("late", f"{DAY}T07:00:00Z")
    assert talk.points(name, late, program=name) == 100

    entries = talk.listed(f"/v1/loyalty/{name}/members/{name}/entries")
    assert [each["points"] for each in entries] == [40, -40, 20, 40, 40]


def test_a_limit_that_is_none_is_refused_with_its_pointer(talk: Talk, name: str) -> None:
    rule = {"id": "order", "on": {"event": name}, "points": 40, "limits": [{"per": "day"}]}
    talk.put("event_type", name, {})

    answer = talk.ask("PUT", f"/v1/definitions/loyalty_program/{name}", {"earning_rules": [rule]})

    assert_problem(answer, 400, "/earning_rules/0/limits/0")
