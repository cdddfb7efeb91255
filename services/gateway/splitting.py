"""The parts of a JSON array or object as texts, whatever stands in them.

Guarantee: each part's text is found without reading it, so that one event that is no JSON, or holds
half a surrogate pair, refuses no other event of its batch; nothing is built of what is passed over,
and others get their turn meanwhile. Slow: only for what the decoder refuses.
"""

import re
from typing import Final

from services.gateway.pacing import Pace

_BLANKS: Final = b" \t\r\n"
_SIGN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
"""A whole string, or one sign; a mark alone begins a string that does not end."""
_MEMBER: Final = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:', re.DOTALL)

_OPENING: Final = b"[{"
_CLOSING: Final = {b"["[0]: b"]"[0], b"{"[0]: b"}"[0]}


async def split(text: bytes, pace: Pace, *, parts_max: int) -> list[bytes]:
    """The texts of an array's elements, or of an object's members.

    Args:
        text: what begins with a bracket or brace.
        pace: of the request.
        parts_max: one more at most is answered: what is beyond it is not looked at.

    Raises:
        ValueError: it does not end as it begins, or a part is empty.
    """
    text = text.strip(_BLANKS)
    closing = _CLOSING[text[0]]
    parts: list[bytes] = []
    start, levels = 1, 0
    for found in _SIGN.finditer(text, 1):
        if pace.is_due():
            await pace.turn()
        place = found.start()
        sign = text[place]
        if sign in _OPENING:
            levels += 1
        elif sign in b"]}" and levels:
            levels -= 1
        elif sign in b"]},":
            if levels:
                continue
            parts.append(text[start:place].strip(_BLANKS))
            start = found.end()
            if len(parts) > parts_max:
                return parts
            if sign not in b",":
                return _ended(text, parts, place, closing)
        elif found.end() == place + 1:
            raise ValueError(f"a string that begins at byte {place} does not end")
    raise ValueError("it ends too early")


def _ended(text: bytes, parts: list[bytes], place: int, closing: int) -> list[bytes]:
    if text[place] != closing:
        raise ValueError(f"it is closed by the wrong sign at byte {place}")
    if place + 1 != len(text):
        raise ValueError(f"something follows the end at byte {place + 1}")
    if parts == [b""]:
        return []
    if b"" in parts:
        raise ValueError("a part of it is empty")
    return parts


def member(text: bytes) -> tuple[bytes, bytes]:
    """The key of a member, with its marks, and the text of its value; ValueError for no member."""
    found = _MEMBER.match(text)
    if found is None:
        raise ValueError("a member has no key")
    return found[1], text[found.end() :].strip(_BLANKS)
