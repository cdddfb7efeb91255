"""Records that could not be applied, kept with their place and reason.

Guarantee: a dead letter is written in the transaction that passes over its record, and a live
generation appends it to the topic ``dead-letters`` too.
"""

from datetime import datetime
from typing import LiteralString

import msgspec

from contracts import codec
from contracts.cloudevent import CloudEvent, spell_sequence
from contracts.identifiers import derived_id
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS, DEAD_LETTERS
from projections.kernel.outbox import Relayed, encode_relayed
from services.runtime.postgres import Session

DEAD_LETTER = "projection.dead_letter"


TOLD_BYTES_MAX = 256 * 1024
"""Of the failed record on the topic, where each byte may take five; its row has the whole."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``customer.events``, or a timer due before it, that could not be applied.

    ``reason`` is the kind of failure and a detail without personal data. ``timer`` is the id of
    the timer's made-up record; empty where it is the record of the log.
    """

    projection: str
    partition: int
    offset: int
    at: datetime
    reason: tuple[str, str]
    key: bytes
    value: bytes
    timer: str = ""


class DeadLetterData(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on the topic of a dead letter: ``record`` is the value as text."""

    projection: str
    position: str
    reason: str
    detail: str
    record: str


_INSERT: LiteralString = """
INSERT INTO dead_letters (partition, record_offset, timer, at, reason, detail, key, record)
VALUES (%s, %s, %s, %s, %s, %s, %b, %b)"""


async def insert(session: Session, letter: DeadLetter) -> None:
    """Write a dead letter inside the transaction that passes over its record."""
    reason, detail = letter.reason
    await session.execute(
        _INSERT,
        (
            letter.partition,
            letter.offset,
            letter.timer,
            letter.at,
            reason,
            detail,
            letter.key,
            letter.value,
        ),
    )


def encode(letter: DeadLetter, *, source: str, sequence: int) -> bytes:
    """Encode the record for the topic ``dead-letters`` as an outbox row."""
    reason, detail = letter.reason
    position = str(Position(CUSTOMER_EVENTS, letter.partition, letter.offset))
    stated = DeadLetterData(
        projection=letter.projection,
        position=position,
        reason=reason,
        detail=detail,
        record=letter.value[:TOLD_BYTES_MAX].decode(errors="backslashreplace"),
    )
    record = CloudEvent(
        id=derived_id("dead_", letter.projection, position, letter.timer),
        source=source,
        type=DEAD_LETTER,
        subject=letter.key.decode(errors="backslashreplace"),
        time=letter.at,
        workspace=_workspace(letter.value),
        recordedtime=letter.at,
        definitionsrevision=0,
        sequence=spell_sequence(sequence),
        data=codec.raw(stated),
    )
    value = codec.encode(record)
    return encode_relayed([Relayed(DEAD_LETTERS, letter.partition, sequence, letter.key, value)])


def _workspace(value: bytes) -> str:
    try:
        return codec.decode_record(value).workspace
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
