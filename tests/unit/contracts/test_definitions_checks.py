"""What definitions say about each other is checked in the world they would stand in."""

import pytest

from contracts.definitions import parse_definition
from contracts.definitions.catalogue import Catalogue, Snapshot
from contracts.definitions.checks import check_against, references

ON = {"event": "order"}
ORDER: dict[str, object] = {
    "properties": {
        "amount": {"type": "number", "required": True},
        "email": {"type": "string", "pii": True},
        "paid_at": {"type": "datetime"},
        "extra": {"type": "object"},
    },
    "additional_properties": "refuse",
}
BASKET: dict[str, object] = {
    "json_schema": {
        "type": "object",
        "properties": {
            "lines": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"price": {"type": "number"}, "sku": {"type": "string"}},
                    "additionalProperties": False,
                },
            },
            "code": {"type": "string", "pii": True},
            "free": {},
        },
        "additionalProperties": False,
    }
}


def world(event_type: object = ORDER, **settings: object) -> Snapshot:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "event_type", "order", event_type)
    catalogue.apply("demo", 2, "endpoint", "hook", {"url": "https://a.b"})
    catalogue.apply("demo", 3, "workspace", "demo", settings)
    return catalogue.latest("demo")


def rule_faults(
    rule: dict[str, object], event_type: object = ORDER, **settings: object
) -> list[tuple[str, str]]:
    spec = {"earning_rules": [{"id": "r", "on": ON, **rule}]}
    definition = parse_definition("loyalty_program", "main", spec, "/0")
    found = check_against(definition, world(event_type, **settings), "/0/spec")
    assert all(fault.pointer.startswith("/0/spec/earning_rules/0") for fault in found)
    return [(fault.pointer.removeprefix("/0/spec/earning_rules/0"), fault.code) for fault in found]


def test_references_name_what_is_used_and_where() -> None:
    program = parse_definition(
        "loyalty_program", "main", {"earning_rules": [{"id": "r", "on": ON, "points": 1}]}
    )
    distribution = parse_definition("distribution", "d", {"on": ON, "endpoint": "hook"})

    assert [(r.kind, r.name, r.pointer) for r in references(program)] == [
        ("event_type", "order", "/earning_rules/0/on/event")
    ]
    assert [(r.kind, r.name, r.pointer) for r in references(distribution, "/1/spec")] == [
        ("event_type", "order", "/1/spec/on/event"),
        ("endpoint", "hook", "/1/spec/endpoint"),
    ]


def test_a_reference_to_something_undefined_is_a_fault() -> None:
    spec = {"on": {"event": "nope"}, "endpoint": "nowhere"}
    found = check_against(parse_definition("distribution", "d", spec), world())

    assert [(fault.pointer, fault.code) for fault in found] == [
        ("/on/event", "undefined"),
        ("/endpoint", "undefined"),
    ]


def test_an_undefined_event_type_may_trigger_where_unknown_ones_are_allowed() -> None:
    rule: dict[str, object] = {"on": {"event": "nope"}, "points": 1}

    assert rule_faults(rule) == [("/on/event", "undefined")]
    assert rule_faults(rule, unknown_event_types="allow") == []


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"event": "metadata.amount", "gte": 1}, []),
        ({"event": "metadata.extra.any.thing", "eq": 1}, []),
        ({"event": "metadata.amount_due", "gte": 1}, [("/if/event", "undeclared")]),
        ({"event": "metadata.amount.x", "gte": 1}, [("/if/event", "undeclared")]),
        ({"event": "metadata.paid_at", "within": "P1D"}, []),
        ({"event": "metadata.paid_at", "eq": "x"}, [("/if/eq", "operator")]),
        ({"event": "metadata.email", "exists": True}, [("/if/event", "sealed-field")]),
        ({"customer": "metadata.amount_due", "eq": 1}, []),
        (
            {"all": [{"event": "goal_value", "gte": 1}, {"event": "metadata.x", "eq": 1}]},
            [("/if/all/1/event", "undeclared")],
        ),
    ],
)
def test_a_rule_may_test_only_what_its_event_declares_in_clear(
    condition: object, found: list[tuple[str, str]]
) -> None:
    assert rule_faults({"points": 1, "if": condition}) == found


def test_an_undeclared_path_is_fine_where_more_is_taken() -> None:
    rule: dict[str, object] = {"points": 1, "if": {"event": "metadata.x", "eq": 1}}
    per: dict[str, object] = {"per": {"every": 1, "points": 1, "of": "metadata.x"}}

    assert rule_faults(rule, {}) == []
    assert rule_faults(per, {}) == []


@pytest.mark.parametrize(
    ("of", "found"),
    [
        ("metadata.amount", []),
        ("goal_value", []),
        ("metadata.paid_at", [("/per/of", "type")]),
        ("metadata.nope", [("/per/of", "undeclared")]),
        ("metadata.email", [("/per/of", "sealed-field")]),
    ],
)
def test_a_measure_is_a_declared_number(of: str, found: list[tuple[str, str]]) -> None:
    assert rule_faults({"per": {"every": 10, "points": 1, "of": of}}) == found


@pytest.mark.parametrize(
    ("of", "found"),
    [
        ("metadata.lines[].price", []),
        ("metadata.free", []),
        ("metadata.lines[].sku", [("/per/of", "type")]),
        ("metadata.lines[].prize", [("/per/of", "undeclared")]),
        ("metadata.nope", [("/per/of", "undeclared")]),
        ("metadata.code", [("/per/of", "sealed-field")]),
    ],
)
def test_a_json_schema_declares_too(of: str, found: list[tuple[str, str]]) -> None:
    assert rule_faults({"per": {"every": 10, "points": 1, "of": of}}, BASKET) == found


def test_a_lasting_rule_may_not_test_what_the_workspace_marks_as_personal() -> None:
    rule: dict[str, object] = {"points": 1, "if": {"customer": "metadata.tax_id", "eq": "x"}}

    assert rule_faults(rule) == []
    assert rule_faults(rule, customer_pii=["tax_id"]) == [("/if/customer", "sealed-field")]


def test_a_distribution_may_test_personal_properties_but_not_undeclared_ones() -> None:
    for path, codes in (("email", []), ("nope", ["undeclared"])):
        spec = {"on": ON, "if": {"event": f"metadata.{path}", "exists": True}}
        found = check_against(parse_definition("distribution", "d", spec), world())

        assert [fault.code for fault in found] == codes
