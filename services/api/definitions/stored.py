"""A spec as Postgres gives it back."""

from contracts.codec import JsonObject, decode_stored


def spec_of(text: str) -> JsonObject:
    """The spec in a row; ``jsonb`` spells numbers out, so they may be long."""
    spec = decode_stored(text.encode())
    assert isinstance(spec, dict), "only objects are written as specs"
    return spec
