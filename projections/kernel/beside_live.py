"""What the live generation could not apply, as a silent one beside it asks.

Guarantee: of what redrives and discards put right, a silent generation does nothing that the live
one has not done: what died and was ended since is passed over again, and what the live one applied
is never a dead letter here. A silent one that is ahead waits until the live one has been there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import LiteralString

from psycopg import sql

from projections.kernel import generations
from projections.kernel.dead_letters import DeadLetter, Reason
from projections.kernel.errors import AheadOfLiveError, UnlikeLiveError
from projections.kernel.records import LetterPlace
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session, translated

Ended = Mapping[LetterPlace, Reason]
"""Dead letters that were redriven or discarded."""
NONE: Ended = {}

_ENDED: LiteralString = """
SELECT record_offset, timer, reason, detail FROM {}
WHERE partition = %s AND record_offset BETWEEN %s AND %s AND state <> 'open'"""
_STANDS: LiteralString = """
SELECT c.next_offset > %(offset)s, current_schema(), EXISTS (
    SELECT FROM {letters} d WHERE d.partition = c.partition
        AND d.record_offset = %(offset)s AND d.timer = %(timer)s)
FROM {checkpoints} c WHERE c.partition = %(partition)s"""


async def ended_among(session: Session, projection: str, records: Sequence[Incoming]) -> Ended:
    """Find the live generation's dead letters among these records that were ended since.

    It is asked anew for every batch: operators end dead letters while a rebuild is on its way.
    """
    with translated():
        live = await generations.live(session, projection)
        if live is None:
            return NONE
        query = sql.SQL(_ENDED).format(sql.Identifier(live.schema, "dead_letters"))
        span = records[0].partition, records[0].offset, records[-1].offset
        rows = await (await session.execute(query, span)).fetchall()
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def apart(records: Sequence[Incoming], ended: Ended) -> Iterator[tuple[Sequence[Incoming], Ended]]:
    """Split records so that each with ended dead letters stands alone, with these."""
    places = {offset for offset, _ in ended}
    begin = 0
    for number, record in enumerate(records) if places else ():
        if record.offset not in places:
            continue
        if begin < number:
            yield records[begin:number], NONE
        yield records[number : number + 1], ended
        begin = number + 1
    if begin < len(records):
        yield records[begin:], NONE


async def check(session: Session, letter: DeadLetter) -> None:
    """Make sure that the live generation has this dead letter too.

    Raises:
        AheadOfLiveError: it has not been there yet.
        UnlikeLiveError: it applied what stands there.
    """
    with translated():
        live = await generations.live(session, letter.projection)
        if live is None:
            return
        query = sql.SQL(_STANDS).format(
            letters=sql.Identifier(live.schema, "dead_letters"),
            checkpoints=sql.Identifier(live.schema, "checkpoints"),
        )
        values = {"partition": letter.partition, "offset": letter.offset, "timer": letter.timer}
        row = await (await session.execute(query, values)).fetchone()
    assert row is not None, "a generation has a checkpoint for every partition"
    has_passed, schema, stands = row
    if stands:
        return
    what = f"{schema} cannot apply {letter.position}"
    reason = ": ".join(letter.reason)
    if not has_passed:
        raise AheadOfLiveError(
            f"{what} and waits for generation {live.number}, the live one, to come there: {reason}"
        )
    raise UnlikeLiveError(
        f"{what}, which generation {live.number}, the live one, applied: {reason}"
    )
