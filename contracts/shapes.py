"""The shapes of decoded JSON or YAML whose content is not known yet."""

from collections.abc import Mapping
from typing import TypeGuard


def is_array(value: object) -> TypeGuard[list[object]]:
    """True for an array."""
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """True for an object whose keys are all text."""
    return _is_mapping(value) and all(isinstance(key, str) for key in value)


def _is_mapping(value: object) -> TypeGuard[dict[object, object]]:
    return isinstance(value, dict)
