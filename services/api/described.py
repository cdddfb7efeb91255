"""JSON Schemas of what travels, made from the types that read and write it.

Guarantee: no schema is written by hand where a type says it; what a type leaves open (raw JSON,
exact numbers) is said here, once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from contracts.codec import Json, JsonObject, decode_object, encode
from contracts.definitions import KINDS
from contracts.definitions.fields import Document
from contracts.definitions.names import EVENT_NAME_PATTERN, NAME_PATTERN
from services.api.json_schema import SchemaWriter
from services.gateway.bounds import BATCH_EVENTS_MAX
from services.gateway.dialects.native import CodeBody, CustomerBody, EventBody

REF: Final = "#/components/schemas/{name}"
NUMBER: Final[JsonObject] = {"type": "number"}
OBJECT: Final[JsonObject] = {"type": "object"}

GOAL_TYPES_WITH_VALUE: Final = ("purchase", "subscription")


def struct_schemas(
    kinds: Sequence[object], template: str = REF
) -> tuple[list[JsonObject], dict[str, JsonObject]]:
    """Schemas of msgspec types, and the components they refer to."""
    writer = SchemaWriter(template)
    return writer.schemas_of(kinds), writer.components


def document_schema(kind: type[Document], template: str = REF) -> tuple[str, dict[str, JsonObject]]:
    """Name of a document's schema, and the components of it and its parts."""
    made = _object(
        kind.model_json_schema(by_alias=True, ref_template=template.replace("{name}", "{model}"))
    )
    parts = made.pop("$defs", {})
    assert isinstance(parts, dict), "definitions of a schema are an object"
    documents = {kind.__name__: made, **{name: _object(each) for name, each in parts.items()}}
    return kind.__name__, {name: _nullable(_exact(each)) for name, each in documents.items()}


def definition_schemas() -> dict[str, JsonObject]:
    """Every kind of definition: its document, ``DefinitionSpec`` and ``Documents``."""
    components: dict[str, JsonObject] = {}
    specs: list[Json] = []
    documents: list[Json] = []
    for kind, document in KINDS.items():
        name, parts = document_schema(document)
        components |= parts
        specs.append(_ref(name))
        pattern = EVENT_NAME_PATTERN if kind == "event_type" else NAME_PATTERN
        documents.append(
            {
                "type": "object",
                "required": ["kind", "name", "spec"],
                "additionalProperties": False,
                "properties": {
                    "kind": {"const": kind},
                    "name": {"type": "string", "pattern": pattern},
                    "spec": _ref(name),
                },
            }
        )
    components["DefinitionSpec"] = {"anyOf": specs}
    components["Documents"] = {"type": "array", "minItems": 1, "items": {"anyOf": documents}}
    return components


def ingest_schemas() -> dict[str, JsonObject]:
    """What the gateway takes: ``Event``, ``EventBatch`` and ``Customer``."""
    _, components = struct_schemas([EventBody, CustomerBody, CodeBody])
    event, customer = components.pop("EventBody"), components.pop("CustomerBody")
    _set(customer, "metadata", {"anyOf": [OBJECT, {"type": "null"}]})
    customer["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in ("id", "source_id", "email")
    ]
    _set(event, "customer", _ref("Customer"))
    _set(event, "metadata", {"anyOf": [OBJECT, {"type": "null"}]})
    _set(event, "goal_value", {"anyOf": [NUMBER, {"type": "null"}]})
    event["if"] = {
        "required": ["goal_type"],
        "properties": {"goal_type": {"enum": list(GOAL_TYPES_WITH_VALUE)}},
    }
    event["then"] = {"required": ["goal_value"], "properties": {"goal_value": NUMBER}}
    events: JsonObject = {
        "type": "array",
        "items": _ref("Event"),
        "minItems": 1,
        "maxItems": BATCH_EVENTS_MAX,
    }
    batch: JsonObject = {
        "type": "object",
        "required": ["events"],
        "additionalProperties": False,
        "properties": {"events": events, "historical": {"type": ["boolean", "null"]}},
    }
    return {
        **components,
        "Event": event,
        "Customer": customer,
        "EventBatch": {"anyOf": [events, batch]},
    }


def _set(schema: JsonObject, name: str, value: JsonObject) -> None:
    properties = schema["properties"]
    assert isinstance(properties, dict), "a struct's schema has properties"
    properties[name] = value


def _ref(name: str) -> JsonObject:
    return {"$ref": REF.format(name=name)}


def _object(value: object) -> JsonObject:
    """A schema as plain JSON of our own."""
    return decode_object(encode(value))


def _nullable(schema: JsonObject) -> JsonObject:
    """Say of a document that a null field counts as absent, and what is taken of a later field."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return schema
    for name, each in properties.items():
        if isinstance(required, list) and name in required:
            continue
        assert isinstance(each, dict), "a property's schema is an object"
        if each.get("type") == "null":
            properties[name] = {"enum": [None, [], {}], "description": "Not supported yet."}
        elif not _takes_null(each):
            properties[name] = {"anyOf": [each, {"type": "null"}]}
    return schema


def _takes_null(schema: JsonObject) -> bool:
    options = schema.get("anyOf")
    says_a_type = any(key in schema for key in ("type", "enum", "const", "$ref", "anyOf"))
    return not says_a_type or (isinstance(options, list) and {"type": "null"} in options)


def _exact(value: JsonObject) -> JsonObject:
    """Say numbers where a type says a decimal, which travels as a number here."""
    made = _walked(value)
    assert isinstance(made, dict), "an object stays one"
    return made


def _walked(value: Json) -> Json:
    if isinstance(value, list):
        return [_walked(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "string" and value.get("format") == "decimal":
        return {key: each for key, each in value.items() if key != "format"} | NUMBER
    options = value.get("anyOf")
    if isinstance(options, list) and any(_is_decimal_text(each) for each in options):
        rest = [_walked(each) for each in options if not _is_decimal_text(each)]
        inner = {key: _walked(each) for key, each in value.items() if key != "anyOf"}
        return {**inner, "anyOf": rest}
    return {key: _walked(each) for key, each in value.items()}


def _is_decimal_text(option: Json) -> bool:
    """The text form that pydantic offers beside a decimal's number; ours takes none."""
    return (
        isinstance(option, dict)
        and option.get("type") == "string"
        and str(option.get("pattern", "")).startswith("^(?!^[-+.]*$)")
    )


def merged(parts: Iterable[Mapping[str, JsonObject]]) -> dict[str, JsonObject]:
    """Components of several sources; the same name must mean the same."""
    found: dict[str, JsonObject] = {}
    for part in parts:
        for name, schema in part.items():
            assert found.setdefault(name, schema) == schema, f"{name} means two things"
    return dict(sorted(found.items()))
