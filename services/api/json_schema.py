"""JSON Schema 2020-12 of msgspec types, as they are encoded here.

Guarantee: decimals are numbers (they travel so), raw JSON is any JSON, and a struct that several
types refer to is one component. A type that no rule covers is a fault of ours.
"""

from collections.abc import Sequence
from typing import Final, get_args, get_origin

import msgspec
from msgspec import inspect

from contracts.codec import Json, JsonObject, decode_json

_PLAIN: Final[dict[type[inspect.Type], JsonObject]] = {
    inspect.AnyType: {},
    inspect.RawType: {},
    inspect.CustomType: {},
    inspect.NoneType: {"type": "null"},
    inspect.BoolType: {"type": "boolean"},
    inspect.DecimalType: {"type": "number"},
    inspect.DateTimeType: {"type": "string", "format": "date-time"},
    inspect.TimeDeltaType: {"type": "string", "format": "duration"},
    inspect.UUIDType: {"type": "string", "format": "uuid"},
}


class SchemaWriter:
    """Writes schemas that refer to components; ``components`` has those met so far."""

    def __init__(self, template: str) -> None:
        self.components: dict[str, JsonObject] = {}
        self._template = template
        self._owners: dict[str, type] = {}

    def schemas_of(self, kinds: Sequence[object]) -> list[JsonObject]:
        """The schema of each type; structs come out as references."""
        return [self._of(each) for each in inspect.multi_type_info(kinds)]

    def _of(self, kind: inspect.Type) -> JsonObject:  # noqa: PLR0911 - a table
        plain = _PLAIN.get(type(kind))
        if plain is not None:
            return dict(plain)
        match kind:
            case inspect.Metadata():
                return self._of(kind.type)
            case inspect.UnionType():
                return _union([self._of(each) for each in kind.types])
            case inspect.LiteralType():
                return {"enum": [_json(value) for value in kind.values]}
            case inspect.ListType() | inspect.VarTupleType() | inspect.CollectionType():
                return self._array(kind)
            case inspect.TupleType():
                return self._tuple(kind.item_types)
            case inspect.DictType():
                return self._mapping(kind)
            case inspect.StructType():
                return self._reference(kind)
            case _:
                return _bounded(kind)

    def _array(
        self, kind: inspect.ListType | inspect.VarTupleType | inspect.CollectionType
    ) -> JsonObject:
        made: JsonObject = {"type": "array", "items": self._of(kind.item_type)}
        return made | _sizes(kind.min_length, kind.max_length, "Items")

    def _mapping(self, kind: inspect.DictType) -> JsonObject:
        made: JsonObject = {"type": "object"}
        values = self._of(kind.value_type)
        if values:
            made["additionalProperties"] = values
        return made

    def _tuple(self, kinds: Sequence[inspect.Type]) -> JsonObject:
        items: list[Json] = [self._of(each) for each in kinds]
        return {
            "type": "array",
            "prefixItems": items,
            "minItems": len(items),
            "maxItems": len(items),
        }

    def _reference(self, kind: inspect.StructType) -> JsonObject:
        name = _name_of(kind.cls)
        owner = self._owners.setdefault(name, kind.cls)
        assert owner == kind.cls, f"two structs are called {name}"
        if name not in self.components:
            self.components[name] = {}
            self.components[name] |= self._struct(kind)
        return {"$ref": self._template.format(name=name)}

    def _struct(self, kind: inspect.StructType) -> JsonObject:
        if kind.array_like:
            return self._tuple([field.type for field in kind.fields])
        properties: JsonObject = {}
        required: list[Json] = []
        for field in kind.fields:
            properties[field.encode_name] = self._of(field.type)
            if field.required:
                required.append(field.encode_name)
        made: JsonObject = {"type": "object", "properties": properties, "required": required}
        if kind.forbid_unknown_fields:
            made["additionalProperties"] = False
        text = " ".join(((get_origin(kind.cls) or kind.cls).__doc__ or "").split())
        return {"title": _name_of(kind.cls), "description": text, **made}


def _name_of(kind: type) -> str:
    """Name of a struct; of a generic one with what it is of, as in KeyViewPage."""
    return "".join(each.__name__ for each in (*get_args(kind), kind))


def _union(options: list[JsonObject]) -> JsonObject:
    if len(options) == 1:
        return options[0]
    if {} in options:
        return {}
    if all(set(each) == {"type"} for each in options):
        return {"type": [each["type"] for each in options]}
    return {"anyOf": [*options]}


def _bounded(kind: inspect.Type) -> JsonObject:
    match kind:
        case inspect.StrType():
            made: JsonObject = {"type": "string"}
            made |= _sizes(kind.min_length, kind.max_length, "Length")
            return made | ({"pattern": kind.pattern} if kind.pattern is not None else {})
        case inspect.IntType():
            made = {"type": "integer"}
            if kind.ge is not None:
                made["minimum"] = kind.ge
            return made | ({"maximum": kind.le} if kind.le is not None else {})
        case inspect.FloatType():
            return {"type": "number"}
        case _:
            raise AssertionError(f"no rule says what {kind} is in JSON")


def _sizes(least: int | None, most: int | None, what: str) -> JsonObject:
    made: JsonObject = {}
    if least is not None:
        made[f"min{what}"] = least
    if most is not None:
        made[f"max{what}"] = most
    return made


def _json(value: object) -> Json:
    return decode_json(msgspec.json.encode(value))
