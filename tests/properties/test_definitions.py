"""Whatever is sent as a definition, the answer is a definition or faults with their places."""

from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codec import Json, JsonObject
from contracts.conditions import CustomerFacts, EventFacts, Facts
from contracts.definitions import Definition, parse_definition
from contracts.definitions.catalogue import Catalogue
from contracts.definitions.checks import check_against
from contracts.definitions.distributions import Distribution
from contracts.definitions.event_types import EventType
from contracts.definitions.loyalty_programs import LoyaltyProgram
from contracts.errors import Fault, RefusedError

ORDER: Final[JsonObject] = {
    "properties": {
        "amount": {"type": "number", "required": True, "enum": [1, Decimal("2.5")]},
        "when": {"type": "datetime", "pii": True, "array": True},
    },
    "additional_properties": "refuse",
}
BASKET: Final[JsonObject] = {
    "json_schema": {
        "type": "object",
        "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
        "$defs": {"line": {"type": "object", "properties": {"price": {"minimum": 0}}}},
    }
}
CONDITION: Final[JsonObject] = {
    "all": [
        {"event": "metadata.amount", "between": [1, 5]},
        {"not": {"any": [{"customer": "created_at", "within": "P3D"}]}},
    ]
}
SPECS: Final[list[tuple[str, JsonObject]]] = [
    ("workspace", {"timezone": "Europe/Warsaw", "unknown_event_types": "allow"}),
    ("event_type", ORDER),
    ("event_type", BASKET),
    (
        "loyalty_program",
        {
            "name": "Main",
            "earning_rules": [
                {"id": "a", "on": {"event": "order"}, "if": CONDITION, "points": 5},
                {
                    "id": "b",
                    "on": {"event": "order"},
                    "per": {"every": Decimal("0.5"), "points": 1, "of": "metadata.amount"},
                    "from": "2026-01-01T00:00:00Z",
                },
            ],
        },
    ),
    (
        "distribution",
        {"on": {"event": "order"}, "if": CONDITION, "endpoint": "hook", "max_event_age": "P3D"},
    ),
    ("endpoint", {"url": "https://a.b/c", "headers": {"X-Key": "v"}, "rate_per_second": 5}),
]

KEYS = st.one_of(
    st.sampled_from(["event", "all", "not", "eq", "id", "points", "type", "$ref", "properties"]),
    st.text(max_size=5),
)
ODD: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
    st.sampled_from(["2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "P1D", "#", "#/$defs/x"]),
    st.sampled_from([10**400, Decimal("1E+6144"), Decimal("-1E-6144")]),
)
JSON: st.SearchStrategy[Json] = st.recursive(
    ODD,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
FACTS: Final = Facts(
    customer=CustomerFacts(),
    event=EventFacts(metadata={"amount": Decimal("2.5")}),
    now=datetime(2026, 11, 21, tzinfo=UTC),
)


@st.composite
def mutated(draw: st.DrawFn, spec: JsonObject) -> Json:
    """The spec with something else in one place."""
    root: list[Json] = [deepcopy(spec)]
    parent: list[Json] | JsonObject = root
    key: str | int = 0
    while draw(st.integers(0, 4)):
        child = parent[str(key)] if isinstance(parent, dict) else parent[int(key)]
        if isinstance(child, dict) and child:
            parent, key = child, draw(st.sampled_from(sorted(child)))
        elif isinstance(child, list) and child:
            parent, key = child, draw(st.integers(0, len(child) - 1))
        else:
            break
    if isinstance(parent, dict):
        parent[draw(KEYS) if draw(st.booleans()) else str(key)] = draw(JSON)
    else:
        parent[int(key)] = draw(JSON)
    return root[0]


def read(kind: str, spec: Json) -> tuple[Definition | None, tuple[Fault, ...]]:
    try:
        return parse_definition(kind, "x", spec, "/0"), ()
    except RefusedError as refused:
        return None, refused.faults


def examine(kind: str, spec: Json) -> None:
    """Read a definition and put it to use; only a refusal may come of it."""
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "event_type", "order", ORDER)
    definition, faults = read(kind, spec)
    assert all(fault.pointer.startswith("/0/spec") for fault in faults)
    if definition is None:
        return
    check_against(definition, catalogue.latest("demo"), "/0/spec")
    if isinstance(definition, LoyaltyProgram):
        for rule in definition.rules:
            assert rule.holds(FACTS) in (True, False)
            assert type(rule.award(FACTS)) is int
    if isinstance(definition, Distribution):
        assert definition.holds(FACTS) in (True, False)
    if isinstance(definition, EventType):
        definition.validator.validate(b'{"amount": 1, "lines": [{"price": -1}]}')


@settings(max_examples=500, deadline=None)
@given(st.data(), st.sampled_from(SPECS))
def test_a_definition_with_anything_in_one_place_is_read_or_refused(
    data: st.DataObject, standing: tuple[str, JsonObject]
) -> None:
    kind, spec = standing

    examine(kind, data.draw(mutated(spec)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([kind for kind, _ in SPECS]), JSON)
def test_anything_at_all_is_read_or_refused(kind: str, spec: Json) -> None:
    examine(kind, spec)
