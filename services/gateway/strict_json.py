"""JSON read with suspicion: everything in it that Upshot refuses, each with its pointer.

Guarantee: ``read_strictly`` finds every duplicate key, U+0000, lone surrogate, number too long and
nesting too deep, and says where; what it answers can be written again, since each lone surrogate
in it is a question mark. It is exact and slow: the hot path comes here only on doubt
(``is_doubtful``) or to explain a refusal.
"""

import json
import re
from collections.abc import Callable
from decimal import Context, DecimalException, Inexact, InvalidOperation, Overflow
from typing import Final, NoReturn

from contracts.codec import Json
from contracts.errors import Fault, pointer_to
from services.gateway.bounds import FAULTS_MAX, LEVELS_READ_MAX, NUMBER_DIGITS_MAX
from services.runtime.problems import presentable

EXPONENT_MAX: Final = 6144
"""Largest exponent of a decimal128."""

EXACT: Final = Context(
    prec=NUMBER_DIGITS_MAX,
    Emax=EXPONENT_MAX,
    Emin=1 - EXPONENT_MAX,
    traps=[Inexact, Overflow, InvalidOperation],
)
"""Takes the numbers that a decimal128 keeps exactly, raises ``DecimalException`` on others."""

_SUSPECT: Final = re.compile(rb"\\u(?:0000|0022|[dD][89a-fA-F])")
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN: Final = b"0" * (NUMBER_DIGITS_MAX + 1)


def is_doubtful(text: bytes, kept: bytes) -> bool:
    r"""True where ``text`` may hold what Upshot refuses though it decodes.

    That is a duplicate key, U+0000, a lone surrogate, or a whole number that is too long. ``kept``
    is what was read of ``text``, encoded again. Each key and each string brings two quotation
    marks, and an escaped one stays escaped; so the counts are equal unless a duplicate key was
    dropped, or ``\u0022`` stands for a mark, which is one of the suspect escapes.
    """
    return (
        text.count(b'"') != kept.count(b'"')
        or _LONG_RUN in text.translate(_DIGITS)
        or (b"\\" in text and _SUSPECT.search(text) is not None)
    )


class _Pairs(list[tuple[str, "_Tree"]]):
    """An object with its duplicate keys."""


class _Numeral(str):
    """A number as it was written."""

    __slots__ = ()


_Tree = None | bool | str | _Numeral | list["_Tree"] | _Pairs


def read_strictly(text: bytes, *, pointer: str = "") -> tuple[Json, tuple[Fault, ...]]:
    """Read JSON; answers the value and what is wrong with it (a malformed text reads as None).

    Args:
        text: one JSON value.
        pointer: of the value, put before each fault's.
    """
    try:
        tree = _parse(text.decode())
    except UnicodeDecodeError as error:
        return None, (_fault(pointer, "encoding", f"is not UTF-8 at byte {error.start}"),)
    except json.JSONDecodeError as error:
        place = f"{error.msg} at character {error.pos}"
        return None, (_fault(pointer, "malformed-json", f"is not JSON: {place}"),)
    except RecursionError:
        return None, (_fault(pointer, "depth", "is nested too deeply"),)
    settling = _Settling(pointer)
    value = settling.value(tree, LEVELS_READ_MAX)
    return value, tuple(settling.faults)


def levels(value: Json) -> int:
    """How many objects and arrays stand inside each other at most; a scalar has none."""
    match value:
        case dict():
            return 1 + max(map(levels, value.values()), default=0)
        case list():
            return 1 + max(map(levels, value), default=0)
        case _:
            return 0


def _fault(pointer: str, code: str, detail: str) -> Fault:
    return Fault(pointer=pointer, code=code, detail=detail)


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no number", name, 0)


_decoder = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_float=_Numeral,
    parse_int=_Numeral,
    parse_constant=_refuse_constant,
)
_parse: Callable[[str], _Tree] = _decoder.decode


class _Settling:
    """Turns a tree into plain values, noting what is wrong on the way, and where."""

    def __init__(self, pointer: str) -> None:
        self.faults: list[Fault] = []
        self._pointer: str = pointer
        self._path: list[str | int] = []

    def value(self, tree: _Tree, levels_left: int) -> Json:
        """The plain value of what stands at the present place."""
        match tree:
            case _Numeral():
                return self._number(tree)
            case str():
                return self._string(tree)
            case list():
                if not levels_left:
                    self._note("depth", "is nested too deeply")
                    return None
                if isinstance(tree, _Pairs):
                    return self._object(tree, levels_left - 1)
                return self._array(tree, levels_left - 1)
            case _:
                return tree

    def _array(self, elements: list[_Tree], levels_left: int) -> list[Json]:
        settled: list[Json] = []
        for index, each in enumerate(elements):
            self._path.append(index)
            settled.append(self.value(each, levels_left))
            self._path.pop()
        return settled

    def _object(self, pairs: _Pairs, levels_left: int) -> dict[str, Json]:
        settled: dict[str, Json] = {}
        seen: set[str] = set()
        for key, value in pairs:
            shown = presentable(key)
            self._path.append(shown)
            if key in seen:
                self._note("duplicate-key", "stands twice in its object")
            seen.add(key)
            self._string(key)
            settled[shown] = self.value(value, levels_left)
            self._path.pop()
        return settled

    def _number(self, text: _Numeral) -> Json:
        whole = text.isdigit() or (text[0] == "-" and text[1:].isdigit())
        if whole and len(text.lstrip("-")) > NUMBER_DIGITS_MAX:
            self._note("number", f"has more than {NUMBER_DIGITS_MAX} digits")
            return 0
        try:
            return int(text) if whole else EXACT.create_decimal(text)
        except DecimalException:
            limits = f"{NUMBER_DIGITS_MAX} digits or an exponent beyond {EXPONENT_MAX}"
            self._note("number", f"has more than {limits}")
            return 0

    def _string(self, text: str) -> str:
        """A string as it can be written again."""
        if "\0" in text:
            self._note("null-character", "contains U+0000")
        shown = presentable(text)
        if shown != text:
            self._note("lone-surrogate", "contains half a surrogate pair")
        return shown

    def _note(self, code: str, detail: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(_fault(pointer_to(self._pointer, *self._path), code, detail))
