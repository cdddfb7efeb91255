"""Event types refuse what they do not declare, with every fault at once."""

import pytest

from contracts.codec import encode
from contracts.definitions.event_types import (
    compatible,
    compile_event_type,
    parse_event_type,
    pii_fields,
    to_json_schema,
)
from contracts.definitions.validators import FAULTS_MAX
from contracts.errors import RefusedError

REVIEW: dict[str, object] = {
    "properties": {
        "review_type": {"type": "string", "required": True, "enum": ["text", "video"]},
        "stars": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        "amount": {"type": "number"},
        "published": {"type": "boolean"},
        "on": {"type": "date"},
        "at": {"type": "datetime"},
        "author": {"type": "object", "pii": True},
        "place": {"type": "geopoint"},
        "link": {"type": "url"},
        "tags": {"type": "string", "array": True},
    },
    "additional_properties": "refuse",
}
BASKET: dict[str, object] = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 0},
        "email": {"type": "string", "pii": True},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}},
                "required": ["sku"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["amount"],
    "additionalProperties": False,
}


def faults(spec: object, metadata: str) -> list[tuple[str, str]]:
    found = compile_event_type(spec).validate(metadata.encode())
    return [(fault.pointer, fault.code) for fault in found]


def spec_faults(spec: object) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as refused:
        parse_event_type("e", spec)
    return [(fault.pointer, fault.code) for fault in refused.value.faults]


@pytest.mark.parametrize(
    "metadata",
    [
        '{"review_type": "text"}',
        '{"review_type": "video", "stars": 5, "amount": 149.99, "published": false}',
        '{"review_type": "text", "on": "2026-11-21", "at": "2026-11-21T09:30:00+02:00"}',
        '{"review_type": "text", "author": {"name": {"first": "A"}}, "place": [52.2, 21.0]}',
        '{"review_type": "text", "place": {"lat": -90, "lon": 180}, "link": "https://a.b/c"}',
        '{"review_type": "text", "tags": [], "stars": null, "amount": null, "link": null}',
        '{"review_type": "text", "tags": ["a", "b"], "stars": 4.0, "amount": 1e400}',
    ],
)
def test_metadata_as_declared_is_taken(metadata: str) -> None:
    assert faults(REVIEW, metadata) == []


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ("{}", [("/metadata/review_type", "required")]),
        ("null", [("/metadata/review_type", "required")]),
        ('{"review_type": null}', [("/metadata/review_type", "required")]),
        ('{"review_type": "audio"}', [("/metadata/review_type", "enum")]),
        ('{"review_type": ["text"]}', [("/metadata/review_type", "type")]),
        ("[]", [("/metadata", "type")]),
        ('"x"', [("/metadata", "type")]),
        ("{", [("/metadata", "malformed")]),
    ],
)
def test_metadata_that_is_wrong_as_a_whole_is_refused(
    metadata: str, found: list[tuple[str, str]]
) -> None:
    assert faults(REVIEW, metadata) == found


@pytest.mark.parametrize(
    ("field", "value", "place", "code"),
    [
        ("stars", "6", "", "enum"),
        ("stars", "1.5", "", "type"),
        ("stars", '"1"', "", "type"),
        ("stars", "true", "", "type"),
        ("amount", '"1"', "", "type"),
        ("amount", "false", "", "type"),
        ("published", "1", "", "type"),
        ("on", '"2026-02-30"', "", "type"),
        ("on", '"2026-11-21T00:00:00Z"', "", "type"),
        ("at", '"2026-11-21T09:30:00"', "", "type"),
        ("at", "1700000000", "", "type"),
        ("author", "[]", "", "type"),
        ("place", "[91, 0]", "", "type"),
        ("place", "[0, 0, 0]", "", "type"),
        ("place", '{"lat": 0}', "", "type"),
        ("place", '{"lat": 0, "lon": 0, "alt": 0}', "", "type"),
        ("link", '"ftp://a.b"', "", "type"),
        ("link", '"https://"', "", "type"),
        ("tags", '"a"', "", "type"),
        ("tags", '["a", 1, null]', "/1", "type"),
        ("other", "1", "", "unknown-field"),
        ("other", "null", "", "unknown-field"),
        ("a/b~", "1", "", "unknown-field"),
    ],
)
def test_a_field_that_is_not_as_declared_is_refused(
    field: str, value: str, place: str, code: str
) -> None:
    found = faults(REVIEW, f'{{"review_type": "text", "{field}": {value}}}')
    name = field.replace("~", "~0").replace("/", "~1")

    assert found[0] == (f"/metadata/{name}{place}", code)


def test_every_fault_is_listed_up_to_the_bound() -> None:
    both = faults(REVIEW, '{"stars": "5", "other": 1}')
    many = encode({f"f{index}": index for index in range(500)}).decode()

    assert [pointer for pointer, _ in both] == [
        "/metadata/review_type",
        "/metadata/stars",
        "/metadata/other",
    ]
    assert len(faults(REVIEW, many)) == FAULTS_MAX


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a": ' + b"1" * 5_000 + b"}",
        b'{"a": 1e99999999999999999999}',
    ],
)
@pytest.mark.parametrize("spec", [{"properties": {"a": {"type": "integer"}}}, {"json_schema": {}}])
def test_what_cannot_be_read_is_a_fault(spec: dict[str, object], raw: bytes) -> None:
    found = compile_event_type(spec).validate(raw)

    assert [(fault.pointer, fault.code) for fault in found] == [("/metadata", "malformed")]


def test_more_than_declared_is_taken_unless_it_is_refused() -> None:
    declared = {"properties": {"a": {"type": "string"}}}

    assert faults(declared, '{"b": 1}') == []
    assert faults({}, '{"b": [1, {"c": null}]}') == []
    assert faults({"additional_properties": "refuse"}, '{"b": 1}') == [
        ("/metadata/b", "unknown-field")
    ]


def test_a_json_schema_lists_every_fault_with_the_field_itself() -> None:
    spec = {"json_schema": BASKET}

    assert faults(spec, '{"amount": 0.1, "items": [{"sku": "A-1"}]}') == []
    assert sorted(faults(spec, '{"amount": -1, "items": [{"n": 1}], "x": 1, "y": 2}')) == [
        ("/metadata/amount", "minimum"),
        ("/metadata/items/0/n", "unknown-field"),
        ("/metadata/items/0/sku", "required"),
        ("/metadata/x", "unknown-field"),
        ("/metadata/y", "unknown-field"),
    ]
    assert faults(spec, "null") == [("/metadata/amount", "required")]
    assert faults(spec, "[]") == [("/metadata", "type")]


def test_a_json_schema_compares_decimals_exactly() -> None:
    spec = {"json_schema": {"properties": {"a": {"multipleOf": 0.1, "maximum": 0.3}}}}

    assert faults(spec, '{"a": 0.3}') == []
    assert faults(spec, '{"a": 0.3000000000000000000000000001}') != []


@pytest.mark.parametrize(
    ("spec", "pointer", "code"),
    [
        ({"json_schema": {"$ref": "http://example.com/x"}}, "/json_schema", "reference"),
        ({"json_schema": {"$ref": "file:///etc/passwd"}}, "/json_schema", "reference"),
        ({"json_schema": {"$ref": "#/nope"}}, "/json_schema", "json-schema"),
        ({"json_schema": {"type": "text"}}, "/json_schema/type", "json-schema"),
        ({"json_schema": {"pattern": "(?=a)"}}, "/json_schema/pattern", "json-schema"),
        ({"json_schema": {"pattern": "("}}, "/json_schema/pattern", "json-schema"),
        ({"json_schema": {"$schema": "http://json-schema.org/draft-07/schema#"}},
         "/json_schema/$schema", "enum"),
        ({"json_schema": {"$comment": "x" * 70_000}}, "/json_schema", "too-large"),
        ({"json_schema": []}, "/json_schema", "type"),
        ({"json_schema": {}, "properties": {}}, "/properties", "conflict"),
        ({"json_schema": {}, "additional_properties": "allow"},
         "/additional_properties", "conflict"),
        ({"properties": []}, "/properties", "type"),
        ({"properties": {"a": "string"}}, "/properties/a", "type"),
        ({"properties": {"a": {}}}, "/properties/a/type", "required"),
        ({"properties": {"a": {"type": "text"}}}, "/properties/a/type", "enum"),
        ({"properties": {"a": {"type": "string", "enum": []}}},
         "/properties/a/enum", "too-short"),
        ({"properties": {"a": {"type": "string", "enum": ["x", 5]}}},
         "/properties/a/enum/1", "type"),
        ({"properties": {"a": {"type": "string", "enum": [["x"]]}}},
         "/properties/a/enum/0", "type"),
        ({"properties": {"a": {"type": "string", "pii": "yes"}}}, "/properties/a/pii", "type"),
        ({"properties": {"": {"type": "string"}}}, "/properties/", "pattern"),
        ({"additional_properties": True}, "/additional_properties", "enum"),
    ],
)  # fmt: skip
def test_an_event_type_that_is_wrong_is_refused(spec: object, pointer: str, code: str) -> None:
    assert spec_faults(spec) == [(pointer, code)]


def test_personal_fields_are_named_in_both_forms() -> None:
    assert pii_fields(REVIEW) == {"author"}
    assert pii_fields({"json_schema": BASKET}) == {"email"}


def test_an_enum_of_numbers_is_exact() -> None:
    spec = {"properties": {"a": {"type": "number", "enum": [0.1, 2]}}}

    assert faults(spec, '{"a": 0.10}') == []
    assert faults(spec, '{"a": 2.0}') == []
    assert faults(spec, '{"a": 0.1000000000000000000001}') == [("/metadata/a", "enum")]


def test_properties_read_as_json_schema() -> None:
    schema = to_json_schema(parse_event_type("e", REVIEW))

    assert schema["required"] == ["review_type"]
    assert schema["additionalProperties"] is False


def changed(old: object, new: object) -> list[str]:
    before, after = parse_event_type("e", old), parse_event_type("e", new)
    found = compatible(before, after)
    assert all(fault.code == "incompatible-schema" for fault in found)
    return [fault.pointer for fault in found]


TEXT = {"type": "string"}
CLOSED = {"properties": {"a": TEXT}, "additional_properties": "refuse"}
OPEN = {"properties": {"a": TEXT}}


@pytest.mark.parametrize(
    ("old", "new", "pointers"),
    [
        (OPEN, OPEN, []),
        (CLOSED, OPEN, []),
        (OPEN, {}, []),
        (OPEN, CLOSED, ["/additional_properties"]),
        (CLOSED, {**CLOSED, "properties": {"a": TEXT, "b": TEXT}}, []),
        (OPEN, {"properties": {"a": TEXT, "b": TEXT}}, ["/properties/b"]),
        (CLOSED, {**CLOSED, "properties": {}}, ["/properties/a"]),
        (OPEN, {"properties": {"a": {**TEXT, "required": True}}}, ["/properties/a/required"]),
        ({"properties": {"a": {**TEXT, "required": True}}}, OPEN, []),
        (OPEN, {"properties": {"a": {"type": "number"}}}, ["/properties/a"]),
        (OPEN, {"properties": {"a": {**TEXT, "enum": ["x"]}}}, ["/properties/a"]),
        ({"properties": {"a": {**TEXT, "enum": ["x"]}}}, OPEN, []),
        (OPEN, {"properties": {"a": {**TEXT, "array": True}}}, ["/properties/a"]),
        ({"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "number"}}}, []),
        (OPEN, {"properties": {"a": {**TEXT, "pii": True}}}, []),
        (CLOSED, {"json_schema": {"type": "object"}}, []),
        (CLOSED, {"json_schema": BASKET}, ["/json_schema"]),
        ({"json_schema": BASKET}, {"json_schema": {**BASKET, "required": []}}, []),
        ({"json_schema": BASKET}, CLOSED, ["/properties"]),
    ],
)
def test_a_change_that_may_refuse_stored_events_is_found(
    old: object, new: object, pointers: list[str]
) -> None:
    assert changed(old, new) == pointers


def doubling(levels: int) -> dict[str, object]:
    """A schema in which each definition names the next one twice."""
    names = [f"d{level}" for level in range(levels)]
    twice = {
        name: {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level, name in enumerate(names)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**twice, f"d{levels}": {"type": "object"}}}


TREE: dict[str, object] = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "additionalProperties": False,
}


def test_a_schema_that_asks_for_exponential_work_is_refused() -> None:
    again: dict[str, object] = {"properties": {"a": {"allOf": [{"$ref": "#"}] * 6}}}
    chain = {
        f"d{n}": {"$anchor": f"a{n}", "anyOf": [{"$ref": f"#a{n + 1}"}] * 2} for n in range(25)
    }
    anchored = {"$ref": "#a0", "$defs": {**chain, "d25": {"$anchor": "a25"}}}

    assert spec_faults({"json_schema": doubling(25)}) == [("/json_schema", "too-costly")]
    assert spec_faults({"json_schema": again}) == [("/json_schema", "too-costly")]
    assert spec_faults({"json_schema": anchored}) == [("/json_schema", "too-costly")]


def test_a_schema_that_refers_to_itself_is_taken() -> None:
    assert faults({"json_schema": TREE}, '{"children": [{"children": []}]}') == []
    assert faults({"json_schema": TREE}, '{"children": [{"x": []}]}') == [
        ("/metadata/children/0/x", "unknown-field")
    ]
    assert faults({"json_schema": doubling(8)}, "{}") == []
    assert faults({"json_schema": {"$ref": "#"}}, '{"a": 1}') == []


def test_a_schema_nested_beyond_reason_is_refused() -> None:
    schema: dict[str, object] = {}
    for _ in range(5000):
        schema = {"not": schema}

    assert spec_faults({"json_schema": schema}) == [("/json_schema", "too-deep")]


def test_a_schema_inside_a_schema_is_refused() -> None:
    nested = {"$defs": {"q": {"$id": "http://example.com/x"}}}
    named = {"properties": {"$id": {"type": "string"}}}

    assert spec_faults({"json_schema": nested}) == [("/json_schema", "reference")]
    assert faults({"json_schema": named}, '{"$id": "a"}') == []


@pytest.mark.parametrize(
    "element",
    [
        {"anyOf": [{"pattern": f"^(a|b|ab)*c{index}$"} for index in range(250)]},
        {"required": [f"p{index}" for index in range(1000)]},
        {"dependentRequired": {f"p{index}": ["a"] for index in range(1000)}},
        {"enum": [{"a": index} for index in range(1000)]},
        {"properties": {"a": {"$ref": "#/$defs/a"}}},
    ],
)
def test_what_meets_each_element_of_an_array_is_bounded(element: dict[str, object]) -> None:
    definitions = {"a": {"anyOf": [{"const": index} for index in range(250)]}}
    schema = {"properties": {"items": {"items": element}}, "$defs": definitions}

    assert spec_faults({"json_schema": schema}) == [("/json_schema", "too-costly")]


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ({"anyOf": [{"pattern": f"^(a|b|ab)*c{index}$"} for index in range(150)]}, "abababab"),
        ({"anyOf": [{"type": "string"}] * 15}, 0),
        ({"required": [f"p{index}" for index in range(100)]}, {}),
    ],
)
def test_what_is_wrong_with_very_much_is_not_listed(
    element: dict[str, object], value: object
) -> None:
    schema = {"properties": {"items": {"items": element}}}
    large = encode({"items": [value] * 2_700}).decode()

    assert faults({"json_schema": schema}, large) == [("/metadata", "json-schema")]
    assert len(faults({"json_schema": schema}, encode({"items": [value]}).decode())) >= 1
