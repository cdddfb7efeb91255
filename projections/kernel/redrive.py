"""Ending dead letters as operators ask: each by a record appended to its own partition.

Guarantee: a dead letter that stands open is redriven or discarded once, however often the request
is carried out: a second record finds it ended where it is read, and is passed over.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import LiteralString

import msgspec
from msgspec import UNSET
from psycopg import sql

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.identifiers import derived_id
from contracts.redrives import DEAD_LETTER_DISCARDED, DeadLetterDiscarded, LetterId, parse_letter
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel.generations import Generation
from projections.kernel.holds import has_passed
from projections.kernel.ports import LogAppender
from services.runtime.kafka.errors import RecordTooLargeError
from services.runtime.kafka.producer import Outgoing
from services.runtime.postgres import Session

APPEND_SECONDS = 10.0
POLL_SECONDS = 0.05
"""How often it is looked whether the live generation has come past what was appended."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that cannot be ended so, and why."""

    letter: str
    reason: str


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the letters that were named.

    ``ended`` are those that a record of ours was appended for and applied; ``died_again`` are the
    new dead letters of those that failed once more. ``not_open`` had ended before.
    """

    generation: int
    ended: list[str]
    died_again: list[str]
    not_open: list[str]
    refused: list[Refusal]


_FIND: LiteralString = """
SELECT d.partition, d.record_offset, d.timer, d.state, d.key, d.record FROM {} d
JOIN unnest(%s::int[], %s::bigint[], %s::text[]) AS n (partition, place, timer)
    ON d.partition = n.partition AND d.record_offset = n.place AND d.timer = n.timer
ORDER BY 1, 2, 3"""
_DIED: LiteralString = """
SELECT d.partition, d.record_offset FROM {} d
JOIN unnest(%s::int[], %s::bigint[]) AS n (partition, place)
    ON d.partition = n.partition AND d.record_offset = n.place
WHERE d.timer = '' ORDER BY 1, 2"""


class _Found(msgspec.Struct, frozen=True):
    """A dead letter as its row has it."""

    id: LetterId
    state: str
    key: bytes
    record: bytes


class CannotRedriveError(Exception):
    """This dead letter cannot be put back into the log; discard it."""


async def end_letters(
    session: Session,
    producer: LogAppender,
    live: Generation,
    named: Sequence[str],
    *,
    redrive: bool,
) -> Redriven:
    """Append what ends each of the named letters that stands open; return once it is applied.

    Raises:
        KafkaUnavailableError, OutcomeUnknownError: some may be appended; it is safe to do it again.
    """
    found = await _find(session, live, named)
    missing = sorted({*named} - {str(each.id) for each in found})
    refused = [Refusal(letter=each, reason="there is no such dead letter") for each in missing]
    ended: list[str] = []
    places: list[tuple[int, int]] = []
    for each in found:
        if each.state != "open":
            continue
        try:
            value = again(each.id, each.record) if redrive else discarded(each.id, each.key)
            places.append(await _append(producer, each, value))
        except CannotRedriveError as error:
            refused.append(Refusal(letter=str(each.id), reason=str(error)))
        else:
            ended.append(str(each.id))
    await _until_applied(session, live, places)
    return Redriven(
        generation=live.number,
        ended=ended,
        died_again=await _died(session, live, places),
        not_open=[str(each.id) for each in found if each.state != "open"],
        refused=refused,
    )


def again(letter: LetterId, record: bytes) -> bytes:
    """Encode the record that died as it is appended again: as it was, but for its sequence.

    With its sequence it would be passed over as one that stands twice.

    Raises:
        CannotRedriveError: it is a timer, or no CloudEvent.
    """
    if letter.timer:
        raise CannotRedriveError("a timer is not in the log, it can only be discarded")
    try:
        died = codec.decode_record(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CannotRedriveError("it is no CloudEvent, it can only be discarded") from error
    return codec.encode(
        msgspec.structs.replace(
            died, sequence=UNSET, redriveof=letter.position, redrivefor=letter.projection
        )
    )


def discarded(letter: LetterId, key: bytes) -> bytes:
    """Encode the record that says that nobody will apply what died."""
    now = datetime.now(tz=UTC)
    return codec.encode(
        CloudEvent(
            id=derived_id("discarded_", str(letter)),
            source=f"{letter.projection}/operations",
            type=DEAD_LETTER_DISCARDED,
            subject=key.decode(errors="backslashreplace"),
            time=now,
            workspace="",
            recordedtime=now,
            definitionsrevision=0,
            redriveof=letter.position,
            redrivefor=letter.projection,
            data=codec.raw(DeadLetterDiscarded(timer=letter.timer)),
        )
    )


async def _append(producer: LogAppender, found: _Found, value: bytes) -> tuple[int, int]:
    """Append to the letter's partition; answer partition and offset."""
    try:
        acks = await producer.append(
            CUSTOMER_EVENTS,
            found.id.partition,
            [Outgoing(found.key, value)],
            deadline_seconds=APPEND_SECONDS,
        )
    except RecordTooLargeError as error:
        raise CannotRedriveError("it is too large to be appended again, discard it") from error
    return found.id.partition, acks[0][0].base_offset


async def _find(session: Session, live: Generation, named: Sequence[str]) -> list[_Found]:
    wanted = sorted({letter for each in named if (letter := _parse(each, live)) is not None})
    partitions = [each.partition for each in wanted]
    offsets, timers = [each.offset for each in wanted], [each.timer for each in wanted]
    query = sql.SQL(_FIND).format(sql.Identifier(live.schema, "dead_letters"))
    rows = await (await session.execute(query, (partitions, offsets, timers))).fetchall()
    return [_Found(LetterId(live.projection, *row[:3]), *row[3:]) for row in rows]


def _parse(named: str, live: Generation) -> LetterId | None:
    try:
        letter = parse_letter(named)
    except ValueError:
        return None
    return letter if letter.projection == live.projection else None


async def _until_applied(
    session: Session, live: Generation, places: Sequence[tuple[int, int]]
) -> None:
    goal = {partition: offset + 1 for partition, offset in sorted(places)}
    while True:
        if await has_passed(session, live.schema, goal):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _died(session: Session, live: Generation, places: Sequence[tuple[int, int]]) -> list[str]:
    partitions, offsets = [each[0] for each in places], [each[1] for each in places]
    query = sql.SQL(_DIED).format(sql.Identifier(live.schema, "dead_letters"))
    rows = await (await session.execute(query, (partitions, offsets))).fetchall()
    return [str(LetterId(live.projection, row[0], row[1])) for row in rows]
