"""Definitions are read in full or refused with the pointer of each fault."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from contracts.conditions import CustomerFacts, EventFacts, Facts
from contracts.definitions import KINDS, Definition, parse_definition
from contracts.definitions.distributions import Distribution
from contracts.definitions.loyalty_programs import (
    AWARD_MAX,
    LIMITS_MAX,
    EarningRule,
    Limit,
    LoyaltyProgram,
)
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import RefusedError

ON = {"event": "order.completed"}
FIXED: dict[str, object] = {"id": "r", "on": ON, "points": 50}
PER: dict[str, object] = {"id": "r", "on": ON}


def faults(kind: str, spec: object, *, name: str = "x", pointer: str = "") -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as refused:
        parse_definition(kind, name, spec, pointer)
    return [(fault.pointer, fault.code) for fault in refused.value.faults]


def program(*rules: dict[str, object], **more: object) -> LoyaltyProgram:
    made = parse_definition("loyalty_program", "main", {"earning_rules": list(rules), **more})
    assert isinstance(made, LoyaltyProgram)
    return made


def rule(**fields: object) -> EarningRule:
    return program({"id": "r", "on": ON, **fields}).rules[0]


def order(amount: int | Decimal | None = None) -> Facts:
    return Facts(
        customer=CustomerFacts(),
        event=EventFacts(goal_value=amount),
        now=datetime(2026, 11, 21, tzinfo=UTC),
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("spec", [None, 5, "text", [], True, {"no_such_field": 1}])
def test_a_spec_of_the_wrong_form_is_refused(kind: str, spec: object) -> None:
    assert faults(kind, spec)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_describes_itself_as_json_schema(kind: str) -> None:
    assert KINDS[kind].model_json_schema(by_alias=True)["type"] == "object"


def test_an_unknown_kind_is_refused_and_a_later_one_is_not_supported_yet() -> None:
    assert faults("audience", {}) == [("/kind", "kind-unknown")]
    assert faults("segment", {}, pointer="/2") == [("/2/kind", "unsupported")]


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a" * 101, "ä", "a\n"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    assert faults("endpoint", {"url": "http://x.y"}, name=name) == [("/name", "name")]


@pytest.mark.parametrize("name", ["", "a" * 301, "a\u0000", "a\u007f", "a\u0085"])
def test_an_event_type_has_a_name_of_its_own_form(name: str) -> None:
    assert faults("event_type", {}, name=name) == [("/name", "name")]
    assert parse_definition("event_type", "Order Completed ✓" + "x" * 280, {})


def test_pointers_start_where_the_document_stands() -> None:
    found = faults("loyalty_program", {"zz": 1}, name="B", pointer="/3")

    assert found == [("/3/name", "name"), ("/3/spec/zz", "unknown-field")]


def test_null_fields_count_as_absent() -> None:
    made = program(
        {**FIXED, "if": None, "per": None, "active": None, "limits": None}, name=None, tiers=None
    )

    assert (made.title, made.rules[0].points, made.rules[0].active) == ("main", 50, True)


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"pending": "P3D"}, "/pending", "unsupported"),
        ({"limits": [{"per": "day"}]}, "/limits/0", "limit"),
        ({"limits": [{"times": 1, "points": 1, "per": "day"}]}, "/limits/0", "limit"),
        ({"limits": [{"times": 1}]}, "/limits/0/per", "required"),
        ({"limits": [{"times": 1, "per": "hour"}]}, "/limits/0/per", "enum"),
        ({"limits": [{"times": 0, "per": "day"}]}, "/limits/0/times", "range"),
        ({"limits": [{"times": 1.5, "per": "day"}]}, "/limits/0/times", "type"),
        ({"limits": [{"points": -5, "per": "day"}]}, "/limits/0/points", "range"),
        ({"limits": [{"points": 10**10, "per": "day"}]}, "/limits/0/points", "range"),
        ({"limits": {"times": 1, "per": "day"}}, "/limits", "type"),
        ({"limits": [{"times": 1, "per": "day"}] * (LIMITS_MAX + 1)}, "/limits", "too-long"),
        ({"expires": {"after": "P12M"}}, "/expires", "unsupported"),
        ({"on": {**ON, "segment_entered": "vip"}}, "/on/segment_entered", "unsupported"),
        ({"on": {**ON, "goal": "purchase"}}, "/on/goal", "unsupported"),
        ({"on": {**ON, "internal": "customer.created"}}, "/on/internal", "unsupported"),
        ({"on": {}}, "/on/event", "required"),
        ({"id": "a b"}, "/id", "pattern"),
        ({"points": 0}, "/points", "range"),
        ({"points": 1.5}, "/points", "type"),
        ({"points": "5"}, "/points", "type"),
        ({"points": True}, "/points", "type"),
        ({"points": 10**10}, "/points", "range"),
        ({"points": None}, "", "points"),
        ({"per": {"every": 1, "points": 1, "of": "goal_value"}}, "", "points"),
        ({"active": 1}, "/active", "type"),
        ({"from": "2026-01-01T00:00:00"}, "/from", "time"),
        ({"from": "2026-01-02", "until": "2026-01-01"}, "", "period"),
        ({"if": {"customer": "email", "eq": "a"}}, "/if/customer", "sealed-field"),
        ({"if": {"segment": "vip"}}, "/if/segment", "unsupported"),
        ({"if": 5}, "/if", "type"),
        ({"bonus": 1}, "/bonus", "unknown-field"),
    ],
)
def test_a_rule_that_is_wrong_is_refused(
    fields: dict[str, object], pointer: str, code: str
) -> None:
    spec = {"earning_rules": [{**FIXED, **fields}]}

    assert faults("loyalty_program", spec) == [(f"/earning_rules/0{pointer}", code)]


def test_limits_are_read_in_their_order() -> None:
    limits = [{"times": Decimal("1e1"), "per": "day"}, {"points": 500, "per": "ever"}]

    made = program({**FIXED, "limits": limits})

    assert made.rules[0].limits == (
        Limit(times=10, points=None, per="day"),
        Limit(times=None, points=500, per="ever"),
    )


@pytest.mark.parametrize(
    ("per", "pointer", "code"),
    [
        ({"points": 1, "of": "goal_value"}, "/every", "required"),
        ({"every": 0, "points": 1, "of": "goal_value"}, "/every", "range"),
        ({"every": -1, "points": 1, "of": "goal_value"}, "/every", "range"),
        ({"every": "1", "points": 1, "of": "goal_value"}, "/every", "type"),
        ({"every": True, "points": 1, "of": "goal_value"}, "/every", "type"),
        ({"every": float("inf"), "points": 1, "of": "goal_value"}, "/every", "type"),
        ({"every": 1, "points": 1, "of": "goal_type"}, "/of", "type"),
        ({"every": 1, "points": 1, "of": "amount"}, "/of", "path"),
        ({"every": 1, "points": 1, "of": 5}, "/of", "type"),
    ],
)
def test_a_measure_that_is_wrong_is_refused(
    per: dict[str, object], pointer: str, code: str
) -> None:
    spec = {"earning_rules": [{**PER, "per": per}]}

    assert faults("loyalty_program", spec) == [(f"/earning_rules/0/per{pointer}", code)]


def test_what_programs_cannot_do_yet_is_refused() -> None:
    spec = {"tiers": [{"name": "gold"}], "notices": ["P30D"]}

    assert faults("loyalty_program", {"tiers": spec["tiers"]}) == [("/tiers", "unsupported")]
    assert faults("loyalty_program", {"notices": spec["notices"]}) == [("/notices", "unsupported")]


def test_two_rules_of_one_id_are_refused() -> None:
    spec = {"earning_rules": [FIXED, {**FIXED, "points": 5}]}

    assert faults("loyalty_program", spec) == [("/earning_rules/1/id", "duplicate")]


def test_faults_of_several_rules_are_listed_together() -> None:
    spec = {
        "earning_rules": [
            {**FIXED, "if": {"nope": 1}},
            {"id": "b", "on": ON, "per": {"every": 1, "points": 1, "of": "nope"}},
        ]
    }

    assert faults("loyalty_program", spec) == [
        ("/earning_rules/0/if/nope", "unknown-field"),
        ("/earning_rules/1/per/of", "path"),
    ]


def test_inactive_rules_stay_in_the_document_but_not_on_their_event() -> None:
    made = program(FIXED, {**FIXED, "id": "off", "active": False})

    assert [each.id for each in made.rules] == ["r", "off"]
    assert [each.id for each in made.rules_on["order.completed"]] == ["r"]


def test_a_fixed_rule_awards_its_points() -> None:
    assert rule(points=50).award(order()) == 50


@pytest.mark.parametrize(
    ("amount", "points"),
    [
        (Decimal("149.99"), 14),
        (Decimal("-149.99"), -14),
        (Decimal("9.99"), 0),
        (Decimal("-9.99"), 0),
        (10, 1),
        (Decimal("9.999999999999999999999999999999999"), 0),
        (None, 0),
        (Decimal("1E+6144"), AWARD_MAX),
        (Decimal("-1E+6144"), -AWARD_MAX),
    ],
)
def test_whole_steps_count_toward_zero(amount: Decimal | int | None, points: int) -> None:
    per = {"every": 10, "points": 1, "of": "goal_value"}

    assert rule(per=per).award(order(amount)) == points


def test_a_tenth_is_a_tenth() -> None:
    per = {"every": 0.1, "points": 1, "of": "goal_value"}

    assert rule(per=per).award(order(Decimal("0.3"))) == 3


def test_lines_of_a_basket_are_summed_before_steps_are_counted() -> None:
    per = {"every": 10, "points": 1, "of": "metadata.items[].price"}
    facts = order()
    assert facts.event is not None
    facts.event.metadata = {
        "items": [{"price": Decimal("9.99")}, {"price": Decimal("0.01")}, {"price": "x"}, {}]
    }

    assert rule(per=per).award(facts) == 1


def distribution(**fields: object) -> Definition:
    return parse_definition("distribution", "d", {"on": ON, **fields})


def test_a_distribution_has_its_defaults() -> None:
    made = distribution(endpoint="hook")

    assert isinstance(made, Distribution)
    assert (made.event, made.endpoint, made.purpose) == ("order.completed", "hook", "message")
    assert (made.active, made.max_event_age) == (True, timedelta(days=3))
    assert made.holds(order())


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"purpose": "promotion"}, "/purpose", "unsupported"),
        ({"purpose": "unique_codes"}, "/purpose", "unsupported"),
        ({"purpose": "spam"}, "/purpose", "enum"),
        ({"campaign": "c"}, "/campaign", "unsupported"),
        ({"limits": [{"times": 1}]}, "/limits", "unsupported"),
        ({"endpoint": "A B"}, "/endpoint", "pattern"),
        ({"max_event_age": "P1M"}, "/max_event_age", "duration"),
        ({"max_event_age": 5}, "/max_event_age", "type"),
        ({"if": {"any": 5}}, "/if/any", "type"),
    ],
)
def test_a_distribution_that_is_wrong_is_refused(
    fields: dict[str, object], pointer: str, code: str
) -> None:
    assert faults("distribution", {"on": ON, **fields}) == [(pointer, code)]


def test_a_distribution_may_test_sealed_fields() -> None:
    made = distribution(**{"if": {"customer": "email", "eq": "alex@domain.io"}})

    assert isinstance(made, Distribution)
    assert not made.holds(order())


def test_a_workspace_has_its_defaults() -> None:
    assert parse_definition("workspace", "demo", {}) == WorkspaceSettings()
    for name in ("Europe/Warsaw", "America/Argentina/Buenos_Aires", "UTC", "Etc/GMT+5"):
        assert parse_definition("workspace", "demo", {"timezone": name})


def test_a_test_clock_shows_an_instant() -> None:
    spec: dict[str, object] = {"clock": "test", "clock_at": "2031-01-01T01:00:00+01:00"}

    settings = parse_definition("workspace", "demo", spec)

    assert settings == WorkspaceSettings(clock="test", clock_at=datetime(2031, 1, 1, tzinfo=UTC))
    assert parse_definition("workspace", "demo", {"clock": "test"}) == WorkspaceSettings(
        clock="test"
    )


@pytest.mark.parametrize(
    ("spec", "pointer", "code"),
    [
        ({"timezone": "Mars/Base"}, "/timezone", "timezone"),
        ({"timezone": "../../etc/passwd"}, "/timezone", "timezone"),
        ({"timezone": "America"}, "/timezone", "timezone"),
        ({"timezone": ""}, "/timezone", "timezone"),
        *(
            ({"timezone": name}, "/timezone", "timezone")
            for name in ("localtime", "posixrules", "Factory", "right/UTC", "posix/Europe/Warsaw")
        ),
        ({"timezone": "Europe/Warsaw\n"}, "/timezone", "timezone"),
        ({"timezone": "a\u0000"}, "/timezone", "timezone"),
        ({"timezone": 5}, "/timezone", "type"),
        ({"clock": "sundial"}, "/clock", "enum"),
        ({"clock": "test", "clock_at": "2026-11-21"}, "/clock_at", "time"),
        ({"clock": "test", "clock_at": 5}, "/clock_at", "time"),
        ({"clock_at": "2026-11-21T09:30:00Z"}, "/clock_at", "no-test-clock"),
        ({"unknown_event_types": "ignore"}, "/unknown_event_types", "enum"),
    ],
)
def test_a_workspace_that_is_wrong_is_refused(
    spec: dict[str, object], pointer: str, code: str
) -> None:
    assert faults("workspace", spec) == [(pointer, code)]
