"""Validation of an event's ``metadata`` against its event type.

Guarantee: ``validate`` answers every fault (at most ``FAULTS_MAX``), each with the pointer of its
field from ``/metadata`` on, and nothing when the metadata is fine. Metadata that is fine costs one
decode by a generated msgspec struct, or one jsonschema-rs check where a JSON Schema was given; only
what that refuses is looked at again, value by value.

Duplicate keys, the length of numbers, and malformed text in fields that no property declares are
for the reader of the request to refuse.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, Protocol

import jsonschema_rs
import msgspec

from contracts.codec import Json, JsonObject, decode_json
from contracts.definitions.json_schemas import CompiledSchema
from contracts.definitions.property_types import Property, fast_type, is_choice, takes
from contracts.errors import Fault, pointer_to

FAULTS_MAX: Final = 100  # faults listed for one event; an answer stays readable
DETAIL_CHARACTERS_MAX: Final = 300  # of a sentence; JSON Schema's quote the whole instance

_METADATA: Final = "/metadata"
_UNEXPLAINED: Final = "does not fit the schema; it is too large to say where"
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError)
"""What msgspec raises: for bad JSON, for deep nesting, for bad UTF-8, for absurd exponents."""


class EventTypeValidator(Protocol):
    """What refuses metadata that its event type does not take."""

    def validate(self, raw_metadata: bytes | msgspec.Raw) -> tuple[Fault, ...]:
        """The faults of one event's metadata: JSON bytes of an object, or of null for none."""
        ...


class PropertiesValidator:
    """The validator of an event type with ``properties``."""

    def __init__(self, properties: Mapping[str, Property], *, allows_additional: bool) -> None:
        self._properties: Mapping[str, Property] = properties
        self._allows_additional: bool = allows_additional
        self._decoder: msgspec.json.Decoder[msgspec.Struct] | None = _compile_decoder(
            properties, allows_additional=allows_additional
        )

    def validate(self, raw_metadata: bytes | msgspec.Raw) -> tuple[Fault, ...]:
        """See ``EventTypeValidator``."""
        if self._decoder is not None:
            try:
                self._decoder.decode(raw_metadata)
            except _UNREADABLE:
                pass
            else:
                return ()
        return self.examine(raw_metadata)

    def examine(self, raw_metadata: bytes | msgspec.Raw) -> tuple[Fault, ...]:
        """What ``validate`` answers, value by value, whether or not a decoder could tell."""
        return tuple(islice(self._faults(raw_metadata), FAULTS_MAX))

    def _faults(self, raw_metadata: bytes | msgspec.Raw) -> Iterator[Fault]:
        metadata = _read(raw_metadata)
        if isinstance(metadata, Fault):
            yield metadata
            return
        for name, declared in self._properties.items():
            yield from _property_faults(declared, metadata.get(name), pointer_to(_METADATA, name))
        if self._allows_additional:
            return
        for name in metadata:
            if name not in self._properties:
                yield Fault(
                    pointer=pointer_to(_METADATA, name),
                    code="unknown-field",
                    detail="is not declared by the event type",
                )


class SchemaValidator:
    """The validator of an event type with ``json_schema``."""

    def __init__(self, schema: Mapping[str, object]) -> None:
        self._schema: CompiledSchema = CompiledSchema(schema)

    def validate(self, raw_metadata: bytes | msgspec.Raw) -> tuple[Fault, ...]:
        """See ``EventTypeValidator``."""
        metadata = _read(raw_metadata)
        if isinstance(metadata, Fault):
            return (metadata,)
        if self._schema.is_valid(metadata):
            return ()
        if not self._schema.can_explain(bytes(raw_metadata)):
            return (Fault(pointer=_METADATA, code="json-schema", detail=_UNEXPLAINED),)
        found = (fault for error in self._schema.iter_errors(metadata) for fault in _of(error))
        return tuple(islice(found, FAULTS_MAX))


def _read(raw_metadata: bytes | msgspec.Raw) -> JsonObject | Fault:
    """The metadata as an object, empty for null, or why it is none."""
    try:
        metadata = decode_json(raw_metadata)
    except _UNREADABLE:
        return Fault(pointer=_METADATA, code="malformed", detail="is not JSON that can be read")
    if metadata is None:
        return {}
    if isinstance(metadata, dict):
        return metadata
    return Fault(pointer=_METADATA, code="type", detail="is not an object")


def _compile_decoder(
    properties: Mapping[str, Property], *, allows_additional: bool
) -> msgspec.json.Decoder[msgspec.Struct] | None:
    """A decoder that takes only what is fine; None when some property has no fast type."""
    fields: list[tuple[str, object] | tuple[str, object, object]] = []
    names: dict[str, str] = {}
    for index, (name, declared) in enumerate(properties.items()):
        kind = fast_type(declared)
        if kind is None:
            return None
        field = f"f{index}"
        names[field] = name
        fields.append((field, kind) if declared.required else (field, kind, None))
    struct = msgspec.defstruct(
        "Metadata",
        fields,
        kw_only=True,
        rename=names,
        forbid_unknown_fields=not allows_additional,
        gc=False,
    )
    return msgspec.json.Decoder(struct)


def _property_faults(declared: Property, value: Json, pointer: str) -> Iterator[Fault]:
    if value is None:
        if declared.required:
            yield Fault(pointer=pointer, code="required", detail="is required")
        return
    if not declared.array:
        yield from _value_faults(declared, value, pointer)
        return
    if not isinstance(value, list):
        yield Fault(pointer=pointer, code="type", detail=f"is not an array of {declared.type}")
        return
    for index, element in enumerate(value):
        yield from _value_faults(declared, element, pointer_to(pointer, index))


def _value_faults(declared: Property, value: Json, pointer: str) -> Iterator[Fault]:
    if not takes(declared.type, value):
        yield Fault(pointer=pointer, code="type", detail=f"is not of type {declared.type}")
    elif declared.enum is not None and not is_choice(declared.enum, value):
        listed = ", ".join(str(choice) for choice in declared.enum)
        yield Fault(
            pointer=pointer, code="enum", detail=f"is none of {listed}"[:DETAIL_CHARACTERS_MAX]
        )


def _of(error: jsonschema_rs.ValidationError) -> Iterator[Fault]:
    """The faults of one finding: a missing or an unexpected field is named itself."""
    pointer = pointer_to(_METADATA, *error.instance_path)
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        yield Fault(
            pointer=pointer_to(pointer, kind.property), code="required", detail="is required"
        )
    elif isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        for name in kind.unexpected:
            yield Fault(
                pointer=pointer_to(pointer, name),
                code="unknown-field",
                detail="is not declared by the event type",
            )
    else:
        yield Fault(pointer=pointer, code=kind.name, detail=error.message[:DETAIL_CHARACTERS_MAX])
