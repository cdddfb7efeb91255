"""What differs between two JSON documents, field by field. Pure."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from contracts.codec import Json
from contracts.errors import pointer_to


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One field that was added, removed or changed, with its JSON before and after."""

    pointer: str
    change: Literal["added", "removed", "changed"]
    old: object = None
    new: object = None


def differences(old: Json, new: Json) -> tuple[Difference, ...]:
    """Every difference, in the order of the new document; none when both say the same.

    Numbers are the same when their values are; an array that differs is one difference, unless
    only elements at the same index do.
    """
    return tuple(_differences(old, new, ""))


def _differences(old: Json, new: Json, pointer: str) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in new.items():
            place = pointer_to(pointer, key)
            if key in old:
                yield from _differences(old[key], value, place)
            else:
                yield Difference(pointer=place, change="added", new=value)
        for key, value in old.items():
            if key not in new:
                yield Difference(pointer=pointer_to(pointer, key), change="removed", old=value)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _differences(left, right, pointer_to(pointer, index))
    elif isinstance(old, bool) is not isinstance(new, bool) or old != new:
        yield Difference(pointer=pointer, change="changed", old=old, new=new)
