"""Event types: decoder, slow path and JSON Schema say the same of any metadata."""

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codec import Json, JsonObject, encode
from contracts.definitions.event_types import (
    EventType,
    compatible,
    parse_event_type,
    to_json_schema,
)
from contracts.definitions.property_types import PropertyType
from contracts.definitions.validators import PropertiesValidator, SchemaValidator

TYPES: Final[list[PropertyType]] = [
    "string",
    "number",
    "integer",
    "boolean",
    "date",
    "datetime",
    "object",
    "geopoint",
    "url",
]
TEXTS: Final = [
    "",
    "a",
    "5",
    "2026-11-21",
    "2026-02-30",
    "2026-11-21T09:30:00Z",
    "2026-11-21T09:30:00.123+02:00",
    "2026-11-21T09:30:00",
    "https://a.b/c?d=e",
    "HTTP://x",
    "ftp://a.b",
    "http://",
    "http://a\n",
    "http://a b",
]
NAMES = st.sampled_from(["a", "b", "c/d~e"])
SCALARS: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-200, 200),
    st.decimals(-200, 200, places=1),
    st.sampled_from(TEXTS),
)


def _array(first: Json, second: Json) -> Json:
    return [first, second]


def _point(latitude: Json, longitude: Json) -> Json:
    return {"lat": latitude, "lon": longitude}


NUMBERS = st.one_of(st.integers(-181, 181), st.decimals(-181, 181, places=1))
VALUES: st.SearchStrategy[Json] = st.one_of(
    SCALARS,
    st.builds(_array, SCALARS, SCALARS),
    st.builds(_array, NUMBERS, NUMBERS),
    st.builds(_point, NUMBERS, SCALARS),
)
METADATA: st.SearchStrategy[JsonObject] = st.dictionaries(NAMES, VALUES, max_size=3)


def _property(
    kind: PropertyType, *, required: bool, array: bool, enum: list[str] | None
) -> JsonObject:
    made: JsonObject = {"type": kind, "required": required, "array": array}
    if enum is not None and kind == "string":
        made["enum"] = list(enum)
    return made


def _spec(properties: JsonObject, additional: str) -> JsonObject:
    return {"properties": properties, "additional_properties": additional}


PROPERTIES = st.builds(
    _property,
    st.sampled_from(TYPES),
    required=st.booleans(),
    array=st.booleans(),
    enum=st.one_of(st.none(), st.lists(st.sampled_from(TEXTS[:3]), min_size=1, max_size=3)),
)
SPECS = st.builds(
    _spec, st.dictionaries(NAMES, PROPERTIES, max_size=3), st.sampled_from(["allow", "refuse"])
)


@settings(max_examples=400, deadline=None)
@given(SPECS, METADATA)
def test_the_generated_decoder_takes_nothing_that_the_slow_path_refuses(
    spec: JsonObject, metadata: JsonObject
) -> None:
    validator = parse_event_type("e", spec).validator
    raw = encode(metadata)

    assert isinstance(validator, PropertiesValidator)
    assert validator.validate(raw) == validator.examine(raw)


@settings(max_examples=400, deadline=None)
@given(SPECS, METADATA)
def test_properties_and_their_json_schema_agree(spec: JsonObject, metadata: JsonObject) -> None:
    event_type = parse_event_type("e", spec)
    schema = SchemaValidator(to_json_schema(event_type))
    raw = encode(metadata)

    assert bool(event_type.validator.validate(raw)) is bool(schema.validate(raw))


@settings(max_examples=400, deadline=None)
@given(SPECS, SPECS, METADATA)
def test_a_compatible_change_refuses_nothing_that_was_taken(
    old_spec: JsonObject, new_spec: JsonObject, metadata: JsonObject
) -> None:
    old, new = parse_event_type("e", old_spec), parse_event_type("e", new_spec)
    raw = encode(metadata)

    if not compatible(old, new) and not old.validator.validate(raw):
        assert new.validator.validate(raw) == ()


@settings(max_examples=200, deadline=None)
@given(SPECS)
def test_no_change_is_compatible(spec: JsonObject) -> None:
    event_type: EventType = parse_event_type("e", spec)

    assert compatible(event_type, event_type) == ()
