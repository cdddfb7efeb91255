"""Where a record stands in the log: its position (topic, partition, offset).

Guarantee: a position's text form reads back as the same position.
"""

import re

import msgspec

_POSITION = re.compile(r"([a-z][a-z.\-]{0,99})/(\d{1,6})/(\d{1,18})", re.ASCII)


class Position(msgspec.Struct, frozen=True, order=True):
    """A record's position in the log."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def parse_position(text: str) -> Position:
    """Read ``topic/partition/offset``.

    Raises:
        ValueError: the text has another form.
    """
    match = _POSITION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return Position(match[1], int(match[2]), int(match[3]))
