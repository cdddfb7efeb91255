"""``event_type``: what may be sent under an event's name.

Either ``properties``, one entry a field of ``metadata``, or ``json_schema`` (2020-12) over the
whole of it, for nested payloads; neither means that any metadata is taken.
``additional_properties`` is ``allow`` where it is not given: as in Voucherify, a producer may send
more than is declared, and ``refuse`` is a decision. A ``json_schema`` says this itself. A null for
an optional property counts as absent; a required one may not be null.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from msgspec import Struct, structs
from pydantic import Field

from contracts.definitions.fields import Choice, Document, read_document
from contracts.definitions.json_schemas import check_schema, covers, path_types
from contracts.definitions.property_types import (
    Property,
    PropertyType,
    check_enum,
    property_schema,
)
from contracts.definitions.validators import (
    EventTypeValidator,
    PropertiesValidator,
    SchemaValidator,
)
from contracts.errors import Fault, RefusedError, pointer_to
from contracts.shapes import is_object

PROPERTIES_MAX: Final = 300  # properties of one event type; bounds the generated decoder

PropertyName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
JsonObject = Mapping[str, object]


class PropertyDocument(Document):
    """One field of ``metadata``; ``array: true`` makes it an array of the type."""

    type: PropertyType
    required: bool = False
    enum: list[Choice] | None = Field(default=None, min_length=1, max_length=1000)
    pii: bool = False
    array: bool = False
    description: str | None = Field(default=None, max_length=2000)


class EventTypeDocument(Document):
    """The document as ``PUT /v1/definitions/event_type/{name}`` takes it."""

    properties: dict[PropertyName, PropertyDocument] | None = Field(
        default=None, max_length=PROPERTIES_MAX
    )
    additional_properties: Literal["refuse", "allow"] = "allow"
    json_schema: dict[str, object] | None = None
    description: str | None = Field(default=None, max_length=2000)


class EventType(Struct, frozen=True, kw_only=True):
    """An event type as processes use it; one of ``properties`` and ``json_schema`` is empty."""

    name: str
    properties: Mapping[str, Property]
    allows_additional: bool
    json_schema: JsonObject | None
    pii_fields: frozenset[str]
    """Top-level metadata keys that the gateway seals."""
    validator: EventTypeValidator


def parse_event_type(name: str, spec: object, pointer: str = "") -> EventType:
    """Read an event type and compile its validator.

    Raises:
        RefusedError: with every fault.
    """
    document = read_document(EventTypeDocument, spec, pointer)
    faults = tuple(_faults(document, pointer))
    if faults:
        raise RefusedError(faults)
    properties = {key: _property(value) for key, value in (document.properties or {}).items()}
    allows_additional = document.additional_properties == "allow"
    schema = document.json_schema
    return EventType(
        name=name,
        properties=properties,
        allows_additional=allows_additional,
        json_schema=schema,
        pii_fields=_pii_fields(document),
        validator=(
            PropertiesValidator(properties, allows_additional=allows_additional)
            if schema is None
            else SchemaValidator(schema)
        ),
    )


def compile_event_type(spec: object) -> EventTypeValidator:
    """The validator of an event type's spec.

    Raises:
        RefusedError: the spec is no event type.
    """
    return parse_event_type("", spec).validator


def pii_fields(spec: object) -> frozenset[str]:
    """The top-level metadata keys that a spec marks as personal."""
    return parse_event_type("", spec).pii_fields


def to_json_schema(event_type: EventType) -> JsonObject:
    """The event type as one JSON Schema (2020-12) over ``metadata``."""
    if event_type.json_schema is not None:
        return event_type.json_schema
    properties = event_type.properties
    return {
        "type": "object",
        "properties": {name: property_schema(each) for name, each in properties.items()},
        "required": [name for name, each in properties.items() if each.required],
        "additionalProperties": event_type.allows_additional,
    }


def declared_types(event_type: EventType, keys: tuple[str, ...]) -> frozenset[str] | None:
    """The JSON Schema types that a path of keys may hold; None where nothing is declared.

    ``datetime`` and ``date`` stand for themselves. An empty set says that the path is refused.
    """
    if event_type.json_schema is not None:
        return path_types(event_type.json_schema, keys)
    declared = event_type.properties.get(keys[0])
    if declared is None:
        return None if event_type.allows_additional else frozenset()
    if len(keys) == 1:
        return frozenset({declared.type})
    return None if declared.type in ("object", "geopoint") else frozenset()


def compatible(old: EventType, new: EventType) -> tuple[Fault, ...]:
    """Where ``new`` may refuse metadata that ``old`` took; nothing when it is proven not to.

    The proof is over all metadata that ``old`` could have taken, not over what is stored: a fault
    says "may refuse". Where ``old`` takes additional properties, declaring one more may refuse.
    """
    if covers(to_json_schema(new), to_json_schema(old)):
        return ()
    if old.json_schema is not None or new.json_schema is not None:
        place = "/properties" if new.json_schema is None else "/json_schema"
        return (_may_refuse(place, "metadata that the type took so far"),)
    return tuple(_property_changes(old, new)) or (_may_refuse("", "metadata it took so far"),)


def _property_changes(old: EventType, new: EventType) -> Iterator[Fault]:
    for name, declared in new.properties.items():
        place = pointer_to("", "properties", name)
        before = old.properties.get(name)
        was_required = before is not None and before.required
        if declared.required and not was_required:
            yield _may_refuse(pointer_to(place, "required"), f"events without {name}")
        if before is None and old.allows_additional:
            yield _may_refuse(place, f"events that sent another {name} undeclared")
        if before is not None:
            old_value, new_value = (
                property_schema(structs.replace(each, required=True)) for each in (before, declared)
            )
            if not covers(new_value, old_value):
                yield _may_refuse(place, f"values that {name} took so far")
    if new.allows_additional:
        return
    for name in old.properties.keys() - new.properties.keys():
        yield _may_refuse(pointer_to("", "properties", name), f"events that sent {name}")
    if old.allows_additional:
        yield _may_refuse("/additional_properties", "events that sent more than is declared")


def _may_refuse(pointer: str, what: str) -> Fault:
    return Fault(pointer=pointer, code="incompatible-schema", detail=f"may refuse {what}")


def _faults(document: EventTypeDocument, pointer: str) -> Iterator[Fault]:
    if document.json_schema is not None:
        yield from _schema_faults(document, pointer)
    for name, each in (document.properties or {}).items():
        if each.enum is None:
            continue
        place = pointer_to(pointer, "properties", name, "enum")
        for index in check_enum(each.type, each.enum):
            yield Fault(
                pointer=pointer_to(place, index),
                code="type",
                detail=f"is not a value of type {each.type}",
            )


def _schema_faults(document: EventTypeDocument, pointer: str) -> Iterator[Fault]:
    if document.properties is not None:
        yield Fault(
            pointer=pointer_to(pointer, "properties"),
            code="conflict",
            detail="stands beside json_schema, which already says all",
        )
    if "additional_properties" in document.model_fields_set:
        yield Fault(
            pointer=pointer_to(pointer, "additional_properties"),
            code="conflict",
            detail="belongs to properties; a json_schema says additionalProperties itself",
        )
    found = check_schema(document.json_schema or {})
    for fault in found:
        yield Fault(
            pointer=pointer_to(pointer, "json_schema") + fault.pointer,
            code=fault.code,
            detail=fault.detail,
        )


def _property(document: PropertyDocument) -> Property:
    return Property(
        type=document.type,
        required=document.required,
        enum=None if document.enum is None else tuple(document.enum),
        pii=document.pii,
        array=document.array,
    )


def _pii_fields(document: EventTypeDocument) -> frozenset[str]:
    """Marked properties; in a ``json_schema``, top-level properties with ``pii: true``."""
    marked = {name for name, each in (document.properties or {}).items() if each.pii}
    listed = (document.json_schema or {}).get("properties")
    if is_object(listed):
        for name, schema in listed.items():
            if is_object(schema) and schema.get("pii") is True:
                marked.add(name)
    return frozenset(marked)
