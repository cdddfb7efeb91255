"""Rows of ``outcomes``: read by sets before requests are decided, added after."""

from collections.abc import Sequence
from struct import Struct
from typing import LiteralString

import msgspec

from contracts import codec
from contracts.requests import Request
from projections.kernel import binary
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Step
from projections.kernel.tables import Table
from projections.loyalty.model import WorkingSet
from projections.loyalty.outcomes import Answer, Outcome, RequestPlace
from projections.loyalty.requests import may_take, place_of
from services.runtime.postgres import Session

_LOAD: LiteralString = """
SELECT o.workspace, uuid_send(o.customer), uuid_send(o.request), o.program, o.digest, o.answer,
    o.partition, o.record_offset
FROM unnest(%s, %s, %s) AS k (workspace, customer, request)
JOIN outcomes o USING (workspace, customer, request)"""
_OUTCOMES = Table(
    "outcomes",
    "customer uuid, request uuid, partition integer, record_offset bigint, workspace text,"
    " program text, digest text, answer text",
)

_COLUMNS = 8
_fixed = Struct(">h i16s i16s ii iq".replace(" ", "")).pack
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
decode_answer = _answer.decode


async def load(session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
    """Read what became of these steps' requests before; note whose lots they may take from."""
    places: list[RequestPlace] = []
    for step in steps:
        if not isinstance(step.data, Request):
            continue
        member = may_take(step)
        if member is not None:
            working.needs_lots.add(member)
        try:
            places.append(place_of(step))
        except InvalidRecordError:
            continue  # deciding it says so
    if not places:
        return
    keys = (
        binary.texts([workspace for workspace, _, _ in places]),
        binary.uuids([binary.customer_key(customer) for _, customer, _ in places]),
        binary.uuids([request for _, _, request in places]),
    )
    for row in await (await session.execute(_LOAD, keys)).fetchall():
        place = (row[0], binary.customer_id(row[1]), row[2])
        working.outcomes[place] = Outcome(
            request=place,
            program=row[3],
            digest=row[4],
            answer=decode_answer(row[5]),
            partition=row[6],
            offset=row[7],
        )


async def write(session: Session, working: WorkingSet) -> None:
    """Add what was decided."""
    await _OUTCOMES.add(session, [_spell(each) for each in working.new_outcomes])


def _spell(outcome: Outcome) -> bytes:
    workspace, customer, request = outcome.request
    fixed = _fixed(
        _COLUMNS, 16, binary.customer_key(customer), 16, request, 4, outcome.partition,
        8, outcome.offset,
    )  # fmt: skip
    names = binary.name(workspace) + binary.name(outcome.program)
    answer = binary.raw(codec.encode(outcome.answer))
    return fixed + names + binary.text(outcome.digest) + answer
