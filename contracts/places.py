"""Where something stands: positions (topic, partition, offset) and places within a partition.

Guarantee: a position's text form reads back as the same position.
"""

import re
from datetime import datetime

import msgspec

_POSITION = re.compile(r"([a-z][a-z.\-]{0,99})/(\d{1,6})/(\d{1,18})", re.ASCII)


class Position(msgspec.Struct, frozen=True, order=True):
    """A record's position in the log."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a partition something happened: at a record, or at an instant just before one.

    ``at`` is the logical time of the partition there.
    """

    partition: int
    offset: int
    at: datetime


def parse_position(text: str) -> Position:
    """Read ``topic/partition/offset``.

    Raises:
        ValueError: the text has another form.
    """
    match = _POSITION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return Position(match[1], int(match[2]), int(match[3]))
