"""Conditions mean what the surface says, value by value."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from contracts.codec import Json, JsonObject, decode_object
from contracts.conditions import (
    CustomerFacts,
    EventFacts,
    Facts,
    compile_condition,
    explain,
    parse,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def facts(metadata: str = "{}", *, customer: str = "{}") -> Facts:
    return Facts(
        customer=CustomerFacts(
            metadata=decode_object(customer.encode()),
            email="alex@domain.io",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
        event=EventFacts(
            metadata=decode_object(metadata.encode()),
            goal_value=Decimal("149.99"),
            goal_type="purchase",
            occurred_at=datetime(2026, 11, 20, tzinfo=UTC),
            referral_code="NRY-01",
        ),
        now=NOW,
    )


def holds(condition: object, metadata: str = "{}", *, customer: str = "{}") -> bool:
    return compile_condition(parse(condition))(facts(metadata, customer=customer))


@pytest.mark.parametrize(
    ("value", "test", "verdict"),
    [
        ('"a"', {"eq": "a"}, True),
        ('"a"', {"eq": "A"}, False),
        ("1", {"eq": 1}, True),
        ("1.0", {"eq": 1}, True),
        ('"1"', {"eq": 1}, False),
        ("true", {"eq": 1}, False),
        ("1", {"eq": True}, False),
        ("true", {"eq": True}, True),
        ('"b"', {"ne": "a"}, True),
        ('"a"', {"ne": "a"}, False),
        ("1", {"ne": "a"}, False),
        ("null", {"ne": "a"}, False),
        ("0.30", {"eq": 0.3}, True),
        ("2", {"gt": 1}, True),
        ("1", {"gt": 1}, False),
        ("1", {"gte": 1}, True),
        ('"2"', {"gt": 1}, False),
        ("true", {"gte": 0}, False),
        ("1", {"lt": 1.5}, True),
        ("1.5", {"lte": 1.5}, True),
        ("1.50000000000000000000000000000000001", {"lte": 1.5}, False),
        ("5", {"between": [1, 5]}, True),
        ("5.1", {"between": [1, 5]}, False),
        ("1", {"in": [1, "a"]}, True),
        ("true", {"in": [1, "a"]}, False),
        ("false", {"in": [False]}, True),
        ("{}", {"in": [1]}, False),
        ('"b"', {"not_in": ["a"]}, True),
        ("5", {"not_in": ["a"]}, False),
        ("5", {"not_in": ["a", 4]}, True),
        ("4", {"not_in": ["a", 4]}, False),
        ("true", {"not_in": [1]}, False),
        ("null", {"not_in": ["a"]}, False),
        ('"abc"', {"contains": "b"}, True),
        ('"abc"', {"not_contains": "b"}, False),
        ('"abc"', {"not_contains": "x"}, True),
        ("5", {"not_contains": "x"}, False),
        ('"abc"', {"starts_with": "ab"}, True),
        ('"abc"', {"ends_with": "ab"}, False),
        ("0", {"exists": True}, True),
        ("null", {"exists": True}, False),
        ("null", {"exists": False}, True),
        ("[]", {"exists": True}, False),
        ("[null]", {"exists": False}, True),
        ("{}", {"exists": True}, True),
    ],
)
def test_a_value_passes_an_operator(value: str, test: dict[str, object], verdict: bool) -> None:
    assert holds({"event": "metadata.x", **test}, f'{{"x": {value}}}') is verdict


@pytest.mark.parametrize(
    ("value", "test", "verdict"),
    [
        ("2026-11-21T11:59:59Z", {"before": "2026-11-21T12:00:00Z"}, True),
        ("2026-11-21T12:00:00Z", {"before": "2026-11-21T12:00:00Z"}, False),
        ("2026-11-21T13:30:00+02:00", {"before": "2026-11-21T12:00:00Z"}, True),
        ("2026-11-21T12:00:01Z", {"after": "2026-11-21T12:00:00Z"}, True),
        ("2026-11-21T12:00:00Z", {"after": "2026-11-21T12:00:00Z"}, False),
        ("2026-11-21T12:00:00", {"after": "2020-01-01T00:00:00Z"}, False),
        ("2026-02-30", {"after": "2020-01-01T00:00:00Z"}, False),
        ("2026-11-20", {"after": "2026-11-19T23:59:59Z"}, True),
        ("9999-12-31T23:59:59Z", {"after": "2020-01-01T00:00:00Z"}, True),
        ("9999-12-31T23:59:59-23:59", {"after": "2020-01-01T00:00:00Z"}, False),
        ("9999-12-31T23:59:59.9999999Z", {"after": "2020-01-01T00:00:00Z"}, False),
        ("0001-01-01T00:00:00Z", {"older_than": "P1D"}, True),
        ("0001-01-01T00:00:00+23:59", {"older_than": "P1D"}, False),
        ("2026-11-14T12:00:00Z", {"within": "P1W"}, False),
        ("2026-11-14T12:00:00.000001Z", {"within": "P1W"}, True),
        ("2026-11-21T12:00:00Z", {"within": "P7D"}, True),
        ("2026-11-21T12:00:01Z", {"within": "P7D"}, False),
        ("2026-11-21T11:00:00Z", {"older_than": "PT1H"}, True),
        ("2026-11-21T11:00:01Z", {"older_than": "PT1H"}, False),
        ("nonsense", {"older_than": "PT1H"}, False),
    ],
)
def test_a_time_passes_an_operator(value: str, test: dict[str, object], verdict: bool) -> None:
    assert holds({"event": "metadata.at", **test}, f'{{"at": "{value}"}}') is verdict


BASKET = (
    '{"items": [{"sku": "A-1", "n": 2}, {"sku": "B"}, 7, null], "tags": ["x", null], "o": {"k": 1}}'
)


@pytest.mark.parametrize(
    ("path", "test", "verdict"),
    [
        ("items[].sku", {"eq": "B"}, True),
        ("items[].sku", {"ne": "B"}, True),
        ("items[].sku", {"not_contains": "B"}, True),
        ("items[].n", {"gte": 2}, True),
        ("items.sku", {"exists": True}, False),
        ("items", {"eq": 7}, True),
        ("items[]", {"eq": 7}, True),
        ("items[][]", {"exists": True}, False),
        ("tags", {"eq": "x"}, True),
        ("tags[]", {"ne": "x"}, False),
        ("tags[].x", {"exists": True}, False),
        ("o.k", {"eq": 1}, True),
        ("o[].k", {"exists": True}, False),
        ("o.k.z", {"exists": False}, True),
        ("absent.k", {"exists": False}, True),
    ],
)
def test_a_path_yields_values(path: str, test: dict[str, object], verdict: bool) -> None:
    assert holds({"event": f"metadata.{path}", **test}, BASKET) is verdict


def test_an_array_in_an_array_is_one_value() -> None:
    assert not holds({"event": "metadata.x", "eq": 1}, '{"x": [[1]]}')
    assert holds({"event": "metadata.x", "exists": True}, '{"x": [[1]]}')
    assert holds({"event": "metadata.x[]", "eq": 1}, '{"x": [[1]]}')


def test_groups_combine_their_children() -> None:
    yes: JsonObject = {"event": "goal_type", "eq": "purchase"}
    no: JsonObject = {"event": "goal_type", "eq": "lead"}

    assert holds({"all": [yes, {"any": [no, yes]}, {"not": no}]})
    assert not holds({"all": [yes, no]})
    assert not holds({"not": {"any": [no, yes]}})
    assert holds({"all": []})
    assert not holds({"any": []})


@pytest.mark.parametrize(
    "condition",
    [
        {"event": "goal_value", "eq": Decimal("149.990")},
        {"event": "occurred_at", "within": "P2D"},
        {"event": "referral.code", "starts_with": "NRY"},
        {"customer": "email", "ends_with": "@domain.io"},
        {"customer": "created_at", "older_than": "P300D"},
        {"customer": "name", "exists": False},
        {"customer": "metadata.VIP", "eq": True},
    ],
)
def test_fields_of_customer_and_event_can_be_tested(condition: dict[str, Json]) -> None:
    assert holds(condition, customer='{"VIP": true}')


def test_without_an_event_nothing_of_it_exists() -> None:
    without = Facts(customer=CustomerFacts(), now=NOW)

    for path in ("goal_value", "goal_type", "occurred_at", "referral.code", "metadata.x[].y"):
        assert compile_condition(parse({"event": path, "exists": False}))(without)


def test_the_first_failure_is_named_with_what_it_saw() -> None:
    condition = parse(
        {"all": [{"event": "metadata.a", "gte": 1}, {"event": "metadata.b", "gte": 5}]}, "/if"
    )

    failure = explain(condition, facts('{"a": 1, "b": [3, 4]}'))

    assert failure is not None
    assert (failure.pointer, failure.seen) == ("/if/all/1", (3, 4))
    assert explain(condition, facts('{"a": 1, "b": 5}')) is None


def test_a_negation_names_what_held() -> None:
    failure = explain(parse({"not": {"event": "metadata.a", "eq": 1}}), facts('{"a": 1}'))

    assert failure is not None
    assert (failure.pointer, failure.seen) == ("/not", (1,))


def test_an_empty_choice_names_itself() -> None:
    failure = explain(parse({"any": []}, "/if"), facts())

    assert failure is not None
    assert (failure.pointer, failure.seen) == ("/if", ())
