"""Records that end a dead letter, and how a dead letter is named.

Guarantee: what ends a dead letter stands in the partition of the record that died, as that record
again or as ``dead_letter.discarded``, with two extension attributes: ``redriveof`` is the position
of what died, ``redrivefor`` the projection that could not apply it. That projection alone applies
the record, where it stands; what ends a letter that has ended already is passed over.
"""

import re

import msgspec

from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS

DEAD_LETTER_DISCARDED = "dead_letter.discarded"

_LETTER = re.compile(r"([a-z]{1,40})\.(\d{1,6})\.(\d{1,18})(?:\.(timer_[0-9a-f]{32}))?", re.ASCII)


class DeadLetterDiscarded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody will apply what died; ``timer`` is its id where it was a timer due before a record."""

    timer: str = ""


class LetterId(msgspec.Struct, frozen=True, order=True):
    """Which dead letter: its projection, its place, and the timer if it was one."""

    projection: str
    partition: int
    offset: int
    timer: str = ""

    def __str__(self) -> str:
        timer = f".{self.timer}" if self.timer else ""
        return f"{self.projection}.{self.partition}.{self.offset}{timer}"

    @property
    def position(self) -> str:
        """Position of the record that died, or before which the timer was due."""
        return str(Position(CUSTOMER_EVENTS, self.partition, self.offset))


def parse_letter(text: str) -> LetterId:
    """Read a dead letter's id.

    Raises:
        ValueError: the text has another form.
    """
    match = _LETTER.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return LetterId(match[1], int(match[2]), int(match[3]), match[4] or "")
