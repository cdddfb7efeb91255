"""Records that could not be applied, kept with their place and reason.

Guarantee: a dead letter is written in the transaction that passes over its record, and a live
generation appends it to the topic ``dead-letters`` too. It ends (redriven or discarded) in the
transaction that applies the record which ends it, and only once.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec

from contracts import codec
from contracts.cloudevent import CloudEvent, spell_sequence
from contracts.identifiers import derived_id
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS, DEAD_LETTERS
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.outbox import Relayed, encode_relayed
from projections.kernel.records import Ending, Letters, Reading, read
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session, translated

DEAD_LETTER = "projection.dead_letter"


TOLD_BYTES_MAX = 256 * 1024
"""Of the failed record on the topic, where each byte may take five; its row has the whole."""


Reason = tuple[str, str]
"""Kind of failure, and a detail without personal data."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``customer.events``, or a timer due before it, that could not be applied.

    ``timer`` is the id of the timer's made-up record; empty where it is the record of the log.
    """

    projection: str
    partition: int
    offset: int
    at: datetime
    reason: Reason
    key: bytes
    value: bytes
    timer: str = ""

    @property
    def position(self) -> str:
        """Position of the record, or of that before which the timer was due."""
        return str(Position(CUSTOMER_EVENTS, self.partition, self.offset))


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


_STANDING: LiteralString = """
SELECT record_offset, timer FROM dead_letters
WHERE partition = %s AND record_offset = ANY(%s) AND state = 'open'"""
_END: LiteralString = """
UPDATE dead_letters d SET state = n.state, ended_offset = n.ended
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[]) AS n (place, timer, state, ended)
WHERE d.partition = %s AND d.record_offset = n.place AND d.timer = n.timer AND d.state = 'open'"""


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


async def read_open(
    session: Session, projection: str, old: Checkpoint, records: Sequence[Incoming]
) -> Reading:
    """Decode a batch, knowing which of the dead letters that records would end stand open."""
    reading = read(old, records, Letters(projection=projection))
    if not reading.asked:
        return reading
    offsets = [each.letter[0] for each in reading.asked]
    with translated():
        rows = await (await session.execute(_STANDING, (old.partition, offsets))).fetchall()
    standing = frozenset((row[0], row[1]) for row in rows)
    return read(old, records, Letters(projection=projection, standing=standing))


async def end(session: Session, partition: int, ended: Sequence[Ending]) -> None:
    """End dead letters that stand open, inside the transaction that applies what ends them."""
    if not ended:
        return
    offsets, timers = [each.letter[0] for each in ended], [each.letter[1] for each in ended]
    states, at = [each.state for each in ended], [each.offset for each in ended]
    await session.execute(_END, (offsets, timers, states, at, partition))


def encode(letter: DeadLetter, *, source: str, sequence: int) -> bytes:
    """Encode the record for the topic ``dead-letters`` as an outbox row."""
    reason, detail = letter.reason
    position = letter.position
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
