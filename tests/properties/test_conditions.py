"""Compiled conditions agree with a naive reading of the surface, for any condition and any facts.

The oracle walks the document itself, value by value, with a rational arithmetic of its own; it
shares neither the parser nor the operators with what it judges.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codec import Json, JsonObject
from contracts.conditions import (
    CustomerFacts,
    EventFacts,
    Facts,
    compile_condition,
    explain,
    parse,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
INSTANTS = ["2026-11-21T12:00:00Z", "2026-11-14T12:00:00Z", "2026-11-14T14:00:00.5+02:00"]
LENGTHS = {"P7D": timedelta(days=7), "PT1H": timedelta(hours=1), "P1W": timedelta(weeks=1)}

KEYS = st.sampled_from(["a", "b", "c"])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.decimals(-3, 3, places=1),
    st.sampled_from([Decimal("1.0"), Decimal("1E+2"), 10**30, Decimal("0.1")]),
)
SCALARS: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.sampled_from(["", "a", "ab", "B", "1"]),
    st.sampled_from([*INSTANTS, "2026-11-14", "2026-11-14T12:00:00"]),
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
METADATA: st.SearchStrategy[JsonObject] = st.dictionaries(KEYS, VALUES, max_size=3)


def _step(key: str, each: str) -> str:
    return key + each


def _path(steps: list[str]) -> str:
    return ".".join(["metadata", *steps])


STEPS = st.builds(_step, KEYS, st.sampled_from(["", "", "[]", "[][]"]))
PATHS = st.lists(STEPS, min_size=1, max_size=3).map(_path)

OPERANDS = st.one_of(st.booleans(), NUMBERS, st.sampled_from(["", "a", "ab", "B", "1"]))
OPERATIONS: st.SearchStrategy[tuple[str, Json]] = st.one_of(
    st.tuples(st.sampled_from(["eq", "ne"]), OPERANDS),
    st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS),
    st.tuples(st.just("between"), st.lists(NUMBERS, min_size=2, max_size=2).map(sorted)),
    st.tuples(st.sampled_from(["in", "not_in"]), st.lists(OPERANDS, min_size=1, max_size=4)),
    st.tuples(
        st.sampled_from(["contains", "not_contains", "starts_with", "ends_with"]),
        st.sampled_from(["", "a", "b", "B"]),
    ),
    st.tuples(st.just("exists"), st.booleans()),
    st.tuples(st.sampled_from(["before", "after"]), st.sampled_from(INSTANTS)),
    st.tuples(st.sampled_from(["within", "older_than"]), st.sampled_from(sorted(LENGTHS))),
)


def _leaf(subject: str, path: str, operation: tuple[str, Json]) -> JsonObject:
    return {subject: path, operation[0]: operation[1]}


def _group(name: str, children: list[JsonObject]) -> JsonObject:
    return {name: list(children)}


def _negation(child: JsonObject) -> JsonObject:
    return {"not": child}


def _compound(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    groups = st.builds(_group, st.sampled_from(["all", "any"]), st.lists(inner, max_size=3))
    return st.one_of(groups, st.builds(_negation, inner))


LEAVES = st.builds(_leaf, st.sampled_from(["event", "customer"]), PATHS, OPERATIONS)
CONDITIONS = st.recursive(LEAVES, _compound, max_leaves=6)


def values_at(node: Json, steps: list[str]) -> list[Json]:
    if not steps:
        elements = node if isinstance(node, list) else [node]
        return [value for value in elements if value is not None]
    step, rest = steps[0], steps[1:]
    if step == "[]":
        inner = node if isinstance(node, list) else []
        return [value for element in inner for value in values_at(element, rest)]
    return values_at(node.get(step), rest) if isinstance(node, dict) else []


def kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | Decimal):
        return "number"
    return "string" if isinstance(value, str) else "other"


def instant_of(value: Json) -> datetime | None:
    if not isinstance(value, str) or not re.match(r"\d{4}-", value):
        return None
    if len(value) == len("2026-11-14"):
        value += "T00:00:00+00:00"
    instant = datetime.fromisoformat(value)
    return instant if instant.tzinfo else None


def equal(value: Json, operand: Json) -> bool:
    return kind_of(value) == kind_of(operand) and value == operand


def passes_number(value: Json, operator: str, operand: Json) -> bool:
    bounds = operand if isinstance(operand, list) else [operand]
    if kind_of(value) != "number":
        return False
    number = Fraction(str(value))
    low, high = Fraction(str(bounds[0])), Fraction(str(bounds[-1]))
    return {
        "gt": number > low,
        "gte": number >= low,
        "lt": number < low,
        "lte": number <= low,
        "between": low <= number <= high,
    }[operator]


def passes_text(value: Json, operator: str, operand: str) -> bool:
    if not isinstance(value, str):
        return False
    return {
        "contains": operand in value,
        "not_contains": operand not in value,
        "starts_with": value[: len(operand)] == operand,
        "ends_with": value[len(value) - len(operand) :] == operand and len(operand) <= len(value),
    }[operator]


def passes_time(value: Json, operator: str, operand: str) -> bool:
    instant = instant_of(value)
    if instant is None:
        return False
    if operator in ("before", "after"):
        limit = datetime.fromisoformat(operand)
        return instant < limit if operator == "before" else instant > limit
    start = NOW - LENGTHS[operand]
    return instant <= start if operator == "older_than" else start < instant <= NOW


def passes(value: Json, operator: str, operand: Json) -> bool:
    choices = operand if isinstance(operand, list) else [operand]
    if operator in ("eq", "in"):
        return any(equal(value, choice) for choice in choices)
    if operator in ("ne", "not_in"):
        alike = [choice for choice in choices if kind_of(choice) == kind_of(value)]
        return bool(alike) and not any(equal(value, choice) for choice in alike)
    if operator in ("gt", "gte", "lt", "lte", "between"):
        return passes_number(value, operator, operand)
    if operator in ("before", "after", "within", "older_than"):
        return passes_time(value, operator, str(operand))
    return passes_text(value, operator, str(operand))


def expected(condition: JsonObject, subjects: dict[str, JsonObject]) -> bool:
    (first, below), *_ = condition.items()
    if first in ("all", "any"):
        assert isinstance(below, list)
        verdicts = [expected(child, subjects) for child in below if isinstance(child, dict)]
        return all(verdicts) if first == "all" else any(verdicts)
    if first == "not":
        assert isinstance(below, dict)
        return not expected(below, subjects)
    operator, operand = list(condition.items())[1]
    steps = str(below).replace("[]", ".[]").split(".")[1:]
    found = values_at(subjects[first], steps)
    if operator == "exists":
        return bool(found) is operand
    return any(passes(value, operator, operand) for value in found)


@settings(max_examples=400, deadline=None)
@given(CONDITIONS, METADATA, METADATA)
def test_a_compiled_condition_agrees_with_the_naive_reading(
    condition: JsonObject, event: JsonObject, customer: JsonObject
) -> None:
    facts = Facts(
        customer=CustomerFacts(metadata=customer), event=EventFacts(metadata=event), now=NOW
    )
    parsed = parse(condition)
    wanted = expected(condition, {"event": event, "customer": customer})

    assert compile_condition(parsed)(facts) is wanted
    assert (explain(parsed, facts) is None) is wanted


SHAPES = st.lists(st.sampled_from(["a", "b", "a[]", "b[]", "a[][]"]), min_size=1, max_size=3)


def _array(elements: Sequence[Json]) -> Json:
    return list(elements)


LAST = st.one_of(SCALARS, st.lists(SCALARS, max_size=3).map(_array))


@st.composite
def reached(draw: st.DrawFn, shape: list[str]) -> JsonObject:
    """Metadata in which a path of this shape mostly finds something."""
    head, rest = shape[0], shape[1:]
    each = head.count("[]")

    def node(depth: int) -> Json:
        if draw(st.integers(0, 19)) == 0:
            return draw(VALUES)
        if depth:
            return [node(depth - 1) for _ in range(draw(st.integers(0, 2)))]
        return draw(reached(rest)) if rest else draw(LAST)

    return {head.removesuffix("[]").removesuffix("[]"): node(each)}


@settings(max_examples=1000, deadline=None)
@given(st.data(), SHAPES, OPERATIONS)
def test_a_test_that_reaches_values_agrees_with_the_naive_reading(
    data: st.DataObject, shape: list[str], operation: tuple[str, Json]
) -> None:
    metadata = data.draw(reached(shape))
    leaf = _leaf("event", _path(shape), operation)
    facts = Facts(customer=CustomerFacts(), event=EventFacts(metadata=metadata), now=NOW)

    verdict = compile_condition(parse(leaf))(facts)

    assert verdict is expected(leaf, {"event": metadata})


@settings(max_examples=200, deadline=None)
@given(OPERATIONS, METADATA, PATHS)
def test_a_test_and_its_negation_never_agree(
    operation: tuple[str, Json], event: JsonObject, path: str
) -> None:
    facts = Facts(customer=CustomerFacts(), event=EventFacts(metadata=event), now=NOW)
    leaf = _leaf("event", path, operation)

    assert compile_condition(parse(leaf))(facts) is not compile_condition(parse({"not": leaf}))(
        facts
    )
