"""JSON Schema 2020-12 as event types use it: compiled, checked, compared.

No schema reaches out: a remote reference is refused. Patterns run on an engine that is linear in
the text, so look-around and back-references are refused. ``format`` is asserted.
"""

from collections.abc import Mapping
from typing import Final, NoReturn

import jsonschema_rs

from contracts.codec import encode
from contracts.definitions.schema_cost import check_cost, checks_of
from contracts.errors import Fault, pointer_to
from contracts.shapes import is_array, is_object

SCHEMA_BYTES_MAX: Final = 65_536  # of one schema; the largest sensible payload description
EXPLAINED_CHECKS_MAX: Final = 5_000  # checks whose failures are listed; at most about 75 ms
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = Mapping[str, object]


class _RemoteReferenceError(Exception):
    """A schema refers to another document."""


class CompiledSchema:
    """A schema that ``check_schema`` found no fault in.

    Telling whether a value fits takes nanoseconds a check; telling why it does not takes
    microseconds, for all of it at once, so ``iter_errors`` is for values where ``can_explain``.
    """

    def __init__(self, schema: Schema) -> None:
        compiled = _compiled(schema)
        self._checks: int = checks_of(schema)
        self.is_valid: Final = compiled.is_valid
        self.iter_errors: Final = compiled.iter_errors

    def can_explain(self, text: bytes) -> bool:
        """True where listing what is wrong with the JSON is a bounded amount of work."""
        values = 1 + text.count(b",") + text.count(b"[") + text.count(b"{")
        return values * self._checks <= EXPLAINED_CHECKS_MAX


def _compiled(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        dict(schema),
        validate_formats=True,
        retriever=_refuse_remote,
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def check_schema(schema: Schema) -> tuple[Fault, ...]:
    """The faults of a schema; pointers start at the schema's root."""
    return _form_faults(schema) or check_cost(schema) or _compile_faults(schema)


def _form_faults(schema: Schema) -> tuple[Fault, ...]:
    if schema.get("$schema", DIALECT) not in (DIALECT, DIALECT + "#"):
        return (Fault(pointer="/$schema", code="enum", detail=f"is not {DIALECT}"),)
    try:
        length = len(encode(schema))
    except RecursionError:
        return (Fault(pointer="", code="too-deep", detail="is nested too deeply"),)
    if length > SCHEMA_BYTES_MAX:
        return (Fault(pointer="", code="too-large", detail=f"is over {SCHEMA_BYTES_MAX} bytes"),)
    return ()


def _compile_faults(schema: Schema) -> tuple[Fault, ...]:
    try:
        _compiled(schema)
    except jsonschema_rs.ValidationError as error:
        return (_fault(error),)
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        return (Fault(pointer="", code="json-schema", detail=_sentence(error)),)
    return ()


def covers(new: Schema, old: Schema) -> bool:
    """True when it is proven that ``new`` takes every value that ``old`` takes."""
    try:
        return _canonical(new).covers(_canonical(old)) == jsonschema_rs.canonical.Containment.YES
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return False


def path_types(schema: Schema, keys: tuple[str, ...]) -> frozenset[str] | None:
    """The types that a path of keys may hold: None when the schema leaves them open.

    Only what plain ``properties``, ``items`` and ``type`` say is read; an empty set says that a
    level refuses the key. Arrays on the way are passed through.
    """
    node: object = schema
    for key in keys:
        node = _through_items(node)
        if not is_object(node):
            return None
        listed = node.get("properties")
        if is_object(listed) and key in listed:
            node = listed[key]
        elif node.get("additionalProperties") is False and "patternProperties" not in node:
            return frozenset()
        else:
            return None
    return _types(_through_items(node))


def _through_items(node: object) -> object:
    while is_object(node) and node.get("type") == "array":
        node = node.get("items")
    return node


def _types(node: object) -> frozenset[str] | None:
    if not is_object(node):
        return None
    listed = node.get("type")
    if isinstance(listed, str):
        return frozenset({_named(listed, node)})
    if is_array(listed):
        return frozenset(_named(str(kind), node) for kind in listed if kind != "null")
    return None


def _named(kind: str, node: Mapping[str, object]) -> str:
    formats = {"date-time": "datetime", "date": "date"}
    return formats.get(str(node.get("format")), kind) if kind == "string" else kind


def _canonical(schema: Schema) -> jsonschema_rs.CanonicalSchema:
    return jsonschema_rs.canonicalize(
        dict(schema),
        draft=jsonschema_rs.Draft202012,
        validate_formats=True,
        pattern_options=jsonschema_rs.RegexOptions(),
        offline=True,
    )


def _refuse_remote(uri: str) -> NoReturn:
    raise _RemoteReferenceError(uri)


def _fault(error: jsonschema_rs.ValidationError) -> Fault:
    return Fault(
        pointer=pointer_to("", *error.instance_path), code="json-schema", detail=error.message[:300]
    )


def _sentence(error: Exception) -> str:
    return (str(error).splitlines() or ["is no JSON Schema"])[0][:300]
