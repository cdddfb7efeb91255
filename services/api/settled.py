"""Whether all that an event set off has come to rest: ``GET /v1/settled?position=…``.

Guarantee: 200 is answered only after a round in which every processor passed the log as it stood
at the round's start, every relay had appended what came of it, and none of that belongs to the
event's chain. Timers, HTTP deliveries and open voucher requests do not count.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Final, LiteralString

import msgspec
from msgspec import UNSET
from psycopg import errors, sql

from contracts import codec
from contracts.errors import refuse
from contracts.places import Position, parse_position
from contracts.topics import CUSTOMER_EVENTS, DEAD_LETTERS, TOPICS, WEBHOOKS
from services.api.call import Call, Reply, missing
from services.api.progress import Generation
from services.api.routes import Answers, Param, Route
from services.api.waiting import wait_seconds
from services.runtime.kafka.consumer import read_one
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, unavailable

ROUNDS_MAX: Final = 8
"""As many as a chain has links: it stops there by itself."""
LOOK_SECONDS: Final = 0.01
LETTERS_MAX: Final = 100
"""Dead letters of a chain that are listed."""
TAG: Final = "Events"

_LIVE: LiteralString = """
SELECT projection, generation, state, model_version FROM upshot.generations
WHERE state = 'live' ORDER BY projection"""
_PUT_OUT: LiteralString = """
SELECT c.partition, coalesce(
    (SELECT min(o.first_offset) FROM {outbox} o WHERE o.partition = c.partition), c.next_offset)
FROM {checkpoints} c"""
_LETTERS: LiteralString = """
SELECT partition, record_offset, reason FROM {}
WHERE state = 'open' AND position(%b::bytea in record) > 0
ORDER BY partition, record_offset LIMIT %s"""

_IN_CHAIN = tuple(
    topic.name for topic in TOPICS if topic.partitions is None and topic.name != WEBHOOKS
)
"""Topics on which a chain goes on; the messages on ``webhooks`` cause nothing further."""


class ChainLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the chain that a projection could not apply."""

    projection: str
    position: str
    reason: str


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """All that a record set off has come to rest, except its ``dead_letters``."""

    settled: bool
    correlation_id: str
    rounds: int
    dead_letters: list[ChainLetter]


async def get_settled(call: Call) -> Reply:
    """Wait until nothing follows from a record any more."""
    position = _position(call)
    correlation = await _correlation(call, position)
    ends_at = time.monotonic() + wait_seconds(call)
    needle = b'"correlationid":"%s"' % correlation.encode()
    with call.api.waits.seated(call.workspace):
        for number in range(1, ROUNDS_MAX + 1):
            before = {topic: await _ends(call, topic) for topic in _IN_CHAIN}
            await _passed(call, before[CUSTOMER_EVENTS], ends_at)
            if not await _follows(call, before, needle):
                found = await _letters(call, needle)
                return Reply(
                    value=Settled(
                        settled=True,
                        correlation_id=correlation,
                        rounds=number,
                        dead_letters=found,
                    )
                )
    raise ProblemError(
        unavailable(f"The chain still goes on after {ROUNDS_MAX} rounds.", slug="not-settled")
    )


def _position(call: Call) -> Position:
    try:
        position = parse_position(call.text("position") or "")
    except ValueError as error:
        raise refuse("/query/position", "position", "is not topic/partition/offset") from error
    if position.topic != CUSTOMER_EVENTS:
        detail = f"is not on {CUSTOMER_EVENTS}, where every chain begins"
        raise refuse("/query/position", "topic", detail)
    if position.partition >= call.api.settings.partitions:
        raise refuse("/query/position", "partition-unknown", "has no such partition")
    return position


async def _correlation(call: Call, position: Position) -> str:
    """Name the chain of a record; raises ``ProblemError`` 404 where the workspace has none."""
    settings = call.api.settings
    found = await read_one(
        settings.kafka,
        position.topic,
        position.partition,
        position.offset,
        prefix=settings.topic_prefix,
    )
    if found is None:
        raise missing(f"record {position}")
    try:
        record = codec.decode_record(found.value)
    except msgspec.DecodeError as error:
        raise missing(f"record {position}") from error
    if record.workspace != call.workspace or record.correlationid is UNSET:
        raise missing(f"record {position}")
    return str(record.correlationid)


async def _ends(call: Call, topic: str) -> dict[int, int]:
    return await call.api.log.ends(topic, range(call.api.settings.partitions))


async def _passed(call: Call, ends: Mapping[int, int], ends_at: float) -> None:
    """Wait until every live generation has passed these records and put out what came of them."""
    while True:
        async with call.session() as session:
            rows = await (await session.execute(_LIVE)).fetchall()
            live = [
                Generation(projection=row[0], number=row[1], state=row[2], model_version=row[3])
                for row in rows
            ]
            behind = [each for each in live if not await _has_passed(session, each, ends)]
        if not behind:
            return
        if time.monotonic() > ends_at:
            names = ", ".join(each.projection for each in behind)
            detail = f"Records that may belong to the chain are not applied yet by {names}."
            raise ProblemError(unavailable(detail, slug="not-settled"))
        await asyncio.sleep(LOOK_SECONDS)


async def _has_passed(session: Session, generation: Generation, ends: Mapping[int, int]) -> bool:
    query = sql.SQL(_PUT_OUT).format(
        outbox=sql.Identifier(generation.schema, "outbox"),
        checkpoints=sql.Identifier(generation.schema, "checkpoints"),
    )
    try:
        put_out = dict(await (await session.execute(query)).fetchall())
    except errors.UndefinedTable:
        return False  # dropped between the two reads: another is live now
    return all(put_out.get(partition, 0) >= end for partition, end in ends.items())


async def _follows(call: Call, before: Mapping[str, Mapping[int, int]], needle: bytes) -> bool:
    """Whether a record of the chain was appended since."""
    for topic, starts in before.items():
        ends = await _ends(call, topic)
        grown = {each: start for each, start in starts.items() if ends[each] > start}
        if topic != DEAD_LETTERS and await call.api.log.has(topic, grown, ends, needle):
            return True
    return False


async def _letters(call: Call, needle: bytes) -> list[ChainLetter]:
    found: list[ChainLetter] = []
    async with call.session() as session:
        for projection, number, *_ in await (await session.execute(_LIVE)).fetchall():
            query = sql.SQL(_LETTERS).format(
                sql.Identifier(f"{projection}_g{number}", "dead_letters")
            )
            rows = await (await session.execute(query, (needle, LETTERS_MAX))).fetchall()
            found += [
                ChainLetter(
                    projection=projection,
                    position=str(Position(CUSTOMER_EVENTS, partition, offset)),
                    reason=reason,
                )
                for partition, offset, reason in rows
            ]
    return found


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/settled",
        tag=TAG,
        summary="Wait until nothing follows from a record any more",
        scopes=("customers:read",),
        query=(
            Param(
                name="position",
                description="`Upshot-Position` of what was sent.",
                required=True,
                pattern=rf"^{re.escape(CUSTOMER_EVENTS)}/[0-9]{{1,6}}/[0-9]{{1,18}}$",
            ),
        ),
        answers=Answers(description="The chain has come to rest.", kind=Settled),
        problems=(503,),
        call=get_settled,
    ),
)
