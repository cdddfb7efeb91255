"""The elements of a JSON array as texts, where some of them cannot be decoded.

Guarantee: each element's text is found whatever its strings hold, so that one event with half a
surrogate pair, or a NaN, refuses no other event of its batch. Slow: only for what the decoder
refuses.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_scan: Final = json.JSONDecoder().raw_decode


def split_array(text: str) -> list[bytes]:
    """The texts of the elements of an array.

    Raises:
        ValueError: it is no array.
        RecursionError: it is nested too deeply.
    """
    cursor = _Cursor(text)
    elements = [text[start:end] for start, end in cursor.elements()]
    cursor.end()
    return [element.encode("utf-8", "surrogatepass") for element in elements]


def split_object(text: str) -> list[tuple[str, str]]:
    """The keys of an object, duplicates included, with the texts of their values."""
    cursor = _Cursor(text)
    members = [(key, text[start:end]) for key, start, end in cursor.members()]
    cursor.end()
    return members


class _Cursor:
    """A place in a text of JSON."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._place: int = 0

    def elements(self) -> Iterator[tuple[int, int]]:
        """Start and end of each element of the array that stands here."""
        self._expect("[")
        if self._is_at("]"):
            return
        while True:
            yield self._value()
            if not self._is_at(","):
                self._expect("]")
                return

    def members(self) -> Iterator[tuple[str, int, int]]:
        """Key, start and end of each member of the object that stands here."""
        self._expect("{")
        if self._is_at("}"):
            return
        while True:
            start, end = self._value()
            key: object = json.loads(self._text[start:end])
            if not isinstance(key, str):
                raise ValueError("a key is no string")  # noqa: TRY004 - it is the text that is wrong
            self._expect(":")
            yield key, *self._value()
            if not self._is_at(","):
                self._expect("}")
                return

    def end(self) -> None:
        """Nothing but blanks may be left."""
        if self._skip_blanks() != len(self._text):
            raise ValueError("something follows the end")

    def _value(self) -> tuple[int, int]:
        start = self._skip_blanks()
        _, self._place = _scan(self._text, start)
        return start, self._place

    def _is_at(self, sign: str) -> bool:
        place = self._skip_blanks()
        if not self._text.startswith(sign, place):
            return False
        self._place = place + 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._is_at(sign):
            raise ValueError(f"{sign} is missing at character {self._place}")

    def _skip_blanks(self) -> int:
        found = _BLANK.match(self._text, self._place)
        assert found is not None, "the pattern matches nothing too"
        self._place = found.end()
        return self._place
