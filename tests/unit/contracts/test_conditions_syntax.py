"""A condition that is wrong is refused with the pointer of each fault."""

import pytest

from contracts.conditions import DEPTH_MAX, NODES_MAX, Context, comparisons_of, parse
from contracts.errors import RefusedError

LEAF: dict[str, object] = {"event": "metadata.x", "eq": 1}


def faults(condition: object, context: Context | None = None) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as refused:
        parse(condition, "/if", context)
    return [(fault.pointer, fault.code) for fault in refused.value.faults]


def nested(depth: int) -> object:
    condition: object = LEAF
    for _ in range(depth - 1):
        condition = {"not": condition}
    return condition


REFUSED: list[tuple[object, str, str]] = [
    (5, "/if", "type"),
    (None, "/if", "type"),
    ([], "/if", "type"),
    ({}, "/if", "type"),
    ({1: 2}, "/if", "type"),
    ({"foo": 1}, "/if/foo", "unknown-field"),
    ({"a/b~c": 1}, "/if/a~1b~0c", "unknown-field"),
    ({"all": LEAF}, "/if/all", "type"),
    ({"all": [], "any": []}, "/if/any", "unknown-field"),
    ({"not": LEAF, "eq": 1}, "/if/eq", "unknown-field"),
    ({"all": [LEAF, 5]}, "/if/all/1", "type"),
    ({"event": "metadata.x"}, "/if", "operator"),
    ({"event": "metadata.x", "eq": 1, "ne": 2}, "/if", "operator"),
    ({"event": "metadata.x", "matches": 1}, "/if/matches", "unknown-operator"),
    ({"event": "metadata.x", "customer": "name", "eq": 1}, "/if/event", "unknown-operator"),
    ({"event": 5, "eq": 1}, "/if/event", "type"),
    ({"event": "metadata", "eq": 1}, "/if/event", "path"),
    ({"event": "metadata.", "eq": 1}, "/if/event", "path"),
    ({"event": "metadata.a..b", "eq": 1}, "/if/event", "path"),
    ({"event": "metadata.a[0]", "eq": 1}, "/if/event", "path"),
    ({"event": "metadata.a[]b", "eq": 1}, "/if/event", "path"),
    ({"event": "metadata.a\u0000", "eq": 1}, "/if/event", "path"),
    ({"event": "metadata." + "a." * 8 + "a", "eq": 1}, "/if/event", "path"),
    ({"event": "metadata." + "a" * 600, "eq": 1}, "/if/event", "path"),
    ({"event": "email", "eq": "a"}, "/if/event", "path"),
    ({"customer": "goal_value", "eq": 1}, "/if/customer", "path"),
    ({"event": "metadata.x", "eq": None}, "/if/eq", "operand"),
    ({"event": "metadata.x", "eq": [1]}, "/if/eq", "operand"),
    ({"event": "metadata.x", "eq": float("nan")}, "/if/eq", "operand"),
    ({"event": "metadata.x", "gt": "1"}, "/if/gt", "operand"),
    ({"event": "metadata.x", "gt": True}, "/if/gt", "operand"),
    ({"event": "metadata.x", "between": [1]}, "/if/between", "operand"),
    ({"event": "metadata.x", "between": [2, 1]}, "/if/between", "operand"),
    ({"event": "metadata.x", "in": []}, "/if/in", "operand"),
    ({"event": "metadata.x", "in": "a"}, "/if/in", "operand"),
    ({"event": "metadata.x", "not_in": [{}]}, "/if/not_in", "operand"),
    ({"event": "metadata.x", "contains": 1}, "/if/contains", "operand"),
    ({"event": "metadata.x", "exists": 1}, "/if/exists", "operand"),
    ({"event": "metadata.x", "before": "2026-11-21T12:00:00"}, "/if/before", "operand"),
    ({"event": "metadata.x", "after": "soon"}, "/if/after", "operand"),
    ({"event": "metadata.x", "after": "9999-12-31T23:59:59-23:59"}, "/if/after", "operand"),
    ({"event": "metadata.x", "within": "P1M"}, "/if/within", "operand"),
    ({"event": "metadata.x", "within": 30}, "/if/within", "operand"),
    ({"event": "metadata.x", "older_than": "P0D"}, "/if/older_than", "operand"),
    ({"event": "occurred_at", "eq": "2026-11-21"}, "/if/eq", "operator"),
    ({"customer": "created_at", "gte": 1}, "/if/gte", "operator"),
    ({"segment": "vip"}, "/if/segment", "unsupported"),
    ({"events": "*", "gte": 1}, "/if/events", "unsupported"),
    ({"goals": "*", "gte": 1}, "/if/goals", "unsupported"),
    ({"loyalty": "main", "gte": 1}, "/if/loyalty", "unsupported"),
    ({"tier": "main", "eq": "gold"}, "/if/tier", "unsupported"),
    ({"referrals": "main", "gte": 1}, "/if/referrals", "unsupported"),
    ({"badge": "first"}, "/if/badge", "unsupported"),
]


@pytest.mark.parametrize(("condition", "pointer", "code"), REFUSED)
def test_what_is_no_condition_is_refused(condition: object, pointer: str, code: str) -> None:
    assert faults(condition) == [(pointer, code)]


def test_every_fault_is_listed_in_order() -> None:
    condition = {"any": [{"event": "nope", "gt": "1"}, LEAF, {"not": {"foo": 1}}]}

    assert faults(condition) == [
        ("/if/any/0/event", "path"),
        ("/if/any/0/gt", "operand"),
        ("/if/any/2/not/foo", "unknown-field"),
    ]


def test_the_tenth_level_is_taken_and_the_eleventh_refused() -> None:
    assert parse(nested(DEPTH_MAX))
    assert faults(nested(DEPTH_MAX + 1)) == [("/if" + "/not" * DEPTH_MAX, "too-deep")]
    assert faults(nested(900)) == [("/if" + "/not" * DEPTH_MAX, "too-deep")]


def test_the_hundredth_node_is_taken_and_the_next_refused() -> None:
    leaves = NODES_MAX - 1

    assert len(list(comparisons_of(parse({"all": [LEAF] * leaves})))) == leaves
    assert faults({"all": [LEAF] * 5000}) == [(f"/if/all/{leaves}", "too-many-nodes")]
    assert faults({"all": [{"any": [LEAF] * 60}, {"any": [LEAF] * 60}]}) == [
        ("/if/all/1/any/37", "too-many-nodes")
    ]


@pytest.mark.parametrize("field", ["email", "name", "source_id", "phone"])
def test_a_lasting_rule_may_not_test_sealed_fields(field: str) -> None:
    condition = {"not": {"customer": field, "eq": "x"}}

    assert parse(condition)
    assert faults(condition, Context(sealed_refused=True)) == [("/if/not/customer", "sealed-field")]


def test_a_rule_without_an_event_may_not_test_one() -> None:
    assert faults(LEAF, Context(has_event=False)) == [("/if/event", "no-event")]
