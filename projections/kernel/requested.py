"""What operators have requested of a projection, as rows: what is running, and how far it is.

Guarantee: a request that was read is running from then on, until its end is written; reading it
again changes nothing.
"""

from typing import LiteralString

import msgspec
from msgspec import UNSET, UnsetType

from contracts import codec
from contracts.administration import OPERATION_REQUESTED, OperationRequested, OperationVerb
from services.runtime.postgres import Session, translated


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """An operation being carried out.

    ``generation`` is the one it made or names, ``letters`` are the dead letters that it names.
    ``is_begun``: somebody took it up before, and may have done it.
    """

    id: str
    verb: OperationVerb
    generation: int | None
    letters: tuple[str, ...]
    emit_difference: bool
    is_begun: bool


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an operation is about, and how far it is, in records of all partitions."""

    generation: int | None = None
    letters: tuple[str, ...] | UnsetType = UNSET
    emit_difference: bool = False
    is_begun: bool = False
    applied_records: int = 0
    total_records: int = 0


_BEGIN: LiteralString = """
INSERT INTO upshot.operations AS o
    (id, projection, verb, requested_by, requested_at, state, progress)
VALUES (%s, %s, %s, %s, %s, 'running', %s::jsonb)
ON CONFLICT ON CONSTRAINT operations_have_an_id
DO UPDATE SET state = 'running', progress = excluded.progress WHERE o.state = 'requested'"""
_RUNNING: LiteralString = """
SELECT id, verb, progress::text FROM upshot.operations
WHERE projection = %s AND state = 'running' ORDER BY requested_at, id"""
_PROGRESS: LiteralString = "UPDATE upshot.operations SET progress = %s::jsonb WHERE id = %s"

_decode_request = codec.decoder(OperationRequested).decode
_decode_progress = msgspec.json.Decoder(Progress).decode


async def begin(session: Session, projection: str, value: bytes) -> None:
    """Take a record of ``operations``: a request to this projection is running from now on."""
    record = codec.decode_record(value)
    if record.type != OPERATION_REQUESTED:
        return
    request = _decode_request(record.data)
    if request.projection != projection:
        return
    about = Progress(
        generation=request.generation,
        letters=request.letters or UNSET,
        emit_difference=request.emit_difference,
    )
    with translated():
        await session.execute(
            _BEGIN,
            (
                request.operation,
                projection,
                request.verb,
                request.requested_by,
                record.recordedtime,
                _json(about),
            ),
        )


async def running(session: Session, projection: str) -> list[Running]:
    """List what is running, oldest first."""
    with translated():
        rows = await (await session.execute(_RUNNING, (projection,))).fetchall()
    return [_running(row[0], row[1], _decode_progress(row[2])) for row in rows]


def _running(operation: str, verb: OperationVerb, about: Progress) -> Running:
    return Running(
        id=operation,
        verb=verb,
        generation=about.generation,
        letters=() if about.letters is UNSET else about.letters,
        emit_difference=about.emit_difference,
        is_begun=about.is_begun,
    )


async def note(session: Session, operation: str, progress: Progress) -> None:
    """Write down how far an operation is."""
    await session.execute(_PROGRESS, (_json(progress), operation))


def _json(progress: Progress) -> str:
    return msgspec.json.encode(progress).decode()
