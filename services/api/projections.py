"""How far the projections are, and what they could not apply."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Final, LiteralString, get_args

import msgspec
from psycopg import errors, sql

from contracts.codec import decode_record
from contracts.places import Position
from contracts.redrives import LetterId, parse_letter
from contracts.topics import CUSTOMER_EVENTS
from services.api.call import CURSOR, LIMIT, Call, Page, Reply, missing, page, page_of, read_cursor
from services.api.progress import Generation
from services.api.routes import Answers, Param, PathParam, Projection, Route
from services.runtime.postgres import Session

TAG: Final = "Operations"
PROJECTIONS: Final[tuple[Projection, ...]] = get_args(Projection)
SCAN_MAX: Final = 10_000
"""Dead letters looked at for one page; those of other workspaces are passed over."""

STATE = Param(
    name="state",
    description="Only those that are so: redriven and discarded ones need nobody any more.",
    choices=("open", "redriven", "discarded"),
)
PROJECTION = Param(name="projection", description="Only this projection's.", choices=PROJECTIONS)


class PartitionView(msgspec.Struct, frozen=True, kw_only=True):
    """One partition's checkpoint against the end of the log; ``stopped`` says why it stands."""

    partition: int
    next_offset: int
    end_offset: int
    stopped: str | None


class ProjectionView(msgspec.Struct, frozen=True, kw_only=True):
    """One generation; ``staleness_seconds`` is the age of the oldest record not yet applied."""

    name: str
    generation: int
    state: str
    model_version: int
    partitions: list[PartitionView]
    lag_records: int
    staleness_seconds: float


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A record, or a timer before it, that a projection could not apply.

    ``record`` stands on a single one. ``state`` is open, redriven or discarded; ``ended_position``
    is the record that made it so.
    """

    id: str
    projection: str
    position: str
    at: datetime
    reason: str
    detail: str
    state: str
    ended_position: str | None
    record_id: str | None
    type: str | None
    record: msgspec.Raw | str | None = None


_GENERATIONS: LiteralString = """
SELECT projection, generation, state, model_version FROM upshot.generations
WHERE state <> 'dropped' ORDER BY projection, state = 'live' DESC, generation"""
_CHECKPOINTS: LiteralString = """
SELECT partition, next_offset, stopped, logical_time FROM {}.checkpoints ORDER BY partition"""


class _Stand(msgspec.Struct, frozen=True):
    """A checkpoint as read."""

    partition: int
    next_offset: int
    stopped: str | None
    logical_time: datetime


async def list_projections(call: Call) -> Reply:
    """Every generation with its lag."""
    async with call.session() as session:
        rows = await (await session.execute(_GENERATIONS)).fetchall()
        found = [
            Generation(projection=row[0], number=row[1], state=row[2], model_version=row[3])
            for row in rows
        ]
        stands = {each.schema: await _stands(session, each) for each in found}
    ends = await call.api.log.ends(CUSTOMER_EVENTS, range(call.api.settings.partitions))
    views = [await _projection(call, each, stands[each.schema], ends) for each in found]
    return page(views)


async def _stands(session: Session, generation: Generation) -> list[_Stand]:
    query = sql.SQL(_CHECKPOINTS).format(sql.Identifier(generation.schema))
    try:
        rows = await (await session.execute(query)).fetchall()
    except errors.UndefinedTable:
        return []  # dropped between the two reads
    return [_Stand(*row) for row in rows]


async def _projection(
    call: Call, generation: Generation, stands: list[_Stand], ends: Mapping[int, int]
) -> ProjectionView:
    partitions = [
        PartitionView(
            partition=each.partition,
            next_offset=each.next_offset,
            end_offset=max(ends.get(each.partition, 0), each.next_offset),
            stopped=each.stopped,
        )
        for each in stands
    ]
    return ProjectionView(
        name=generation.projection,
        generation=generation.number,
        state=generation.state,
        model_version=generation.model_version,
        partitions=partitions,
        lag_records=sum(each.end_offset - each.next_offset for each in partitions),
        staleness_seconds=await _staleness(call, partitions),
    )


async def _staleness(call: Call, partitions: list[PartitionView]) -> float:
    behind = {
        each.partition: each.next_offset
        for each in partitions
        if each.next_offset < each.end_offset
    }
    appended = await call.api.log.appended_at(CUSTOMER_EVENTS, behind)
    if not appended:
        return 0.0
    now = call.api.clock.now()
    return max(0.0, *((now - at).total_seconds() for at in appended.values()))


_LETTERS: LiteralString = """
SELECT partition, record_offset, timer, at, reason, detail, state, ended_offset, record
FROM {}.dead_letters
WHERE (partition, record_offset, timer) > (%s, %s, %s) AND (%s::text IS NULL OR state = %s)
ORDER BY partition, record_offset, timer LIMIT %s"""
_LETTER: LiteralString = """
SELECT partition, record_offset, timer, at, reason, detail, state, ended_offset, record
FROM {}.dead_letters WHERE partition = %s AND record_offset = %s AND timer = %s"""
_Place = tuple[int, int, str]
_START: Final[_Place] = (-1, -1, "")


async def list_dead_letters(call: Call) -> Reply:
    """The workspace's dead letters of the live generations."""
    only, limit, cursor = call.text("projection"), call.limit(), call.text("cursor")
    name, after = "", _START
    if cursor is not None:
        named, partition, offset, timer = read_cursor(cursor, str, int, int, str)
        name, after = str(named), (int(partition), int(offset), str(timer))
    found: list[DeadLetterView] = []
    async with call.session() as session:
        rows = await (await session.execute(_GENERATIONS)).fetchall()
        for row in sorted(rows):
            if row[2] != "live" or row[0] < name or only not in (None, row[0]):
                continue
            start = after if row[0] == name else _START
            live = Generation(projection=row[0], number=row[1], state=row[2], model_version=row[3])
            found += await _letters(call, session, live, start, limit + 1 - len(found))
            if len(found) > limit:
                break
    return page_of(found, limit, lambda letter: msgspec.structs.astuple(parse_letter(letter.id)))


async def _letters(
    call: Call, session: Session, live: Generation, start: _Place, wanted: int
) -> list[DeadLetterView]:
    query, state = sql.SQL(_LETTERS).format(sql.Identifier(live.schema)), call.text("state")
    rows = await (await session.execute(query, (*start, state, state, SCAN_MAX))).fetchall()
    views: list[DeadLetterView] = []
    for row in rows:
        view = _letter(call, live.projection, row, with_record=False)
        if view is not None:
            views.append(view)
        if len(views) == wanted:
            break
    return views


async def get_dead_letter(call: Call) -> Reply:
    """One dead letter with its record."""
    try:
        letter = parse_letter(call.path["id"])
    except ValueError as error:
        raise missing("such dead letter") from error
    if letter.projection not in PROJECTIONS:
        raise missing("such dead letter")
    async with call.session() as session:
        live = await call.api.progress.live(session, letter.projection)
        query = sql.SQL(_LETTER).format(sql.Identifier(live.schema))
        place = letter.partition, letter.offset, letter.timer
        row = await (await session.execute(query, place)).fetchone()
    view = None if row is None else _letter(call, letter.projection, row, with_record=True)
    if view is None:
        raise missing("such dead letter")
    return Reply(value=view)


def _letter(
    call: Call, projection: str, row: tuple[object, ...], *, with_record: bool
) -> DeadLetterView | None:
    """The view of a row; None where the record is another workspace's.

    What cannot be read names no workspace: the installation's own sees it.
    """
    partition, offset, timer, at, reason, detail, state, ended, record = row
    assert isinstance(partition, int) and isinstance(offset, int) and isinstance(timer, str)
    assert isinstance(at, datetime) and isinstance(reason, str) and isinstance(detail, str)
    assert isinstance(state, str) and (ended is None or isinstance(ended, int))
    assert isinstance(record, bytes)
    letter = LetterId(projection, partition, offset, timer)
    record_id = record_type = None
    content: msgspec.Raw | str = record.decode(errors="backslashreplace")
    try:
        read = decode_record(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        workspace = call.api.settings.workspace
    else:
        workspace, record_id, record_type = read.workspace, read.id, read.type
        content = msgspec.Raw(record)
    if workspace != call.workspace:
        return None
    return DeadLetterView(
        id=str(letter),
        projection=projection,
        position=letter.position,
        at=at,
        reason=reason,
        detail=detail,
        state=state,
        ended_position=None if ended is None else str(Position(CUSTOMER_EVENTS, partition, ended)),
        record_id=record_id,
        type=record_type,
        record=content if with_record else None,
    )


_read = partial(Route, method="GET", tag=TAG, scopes=("operations",))

ROUTES: tuple[Route, ...] = (
    _read(
        path="/v1/projections",
        summary="List the projections with their lag",
        answers=Answers(description="Every generation that stands.", kind=Page[ProjectionView]),
        is_of_installation=True,
        call=list_projections,
    ),
    _read(
        path="/v1/dead-letters",
        summary="List what could not be applied",
        query=(PROJECTION, STATE, LIMIT, CURSOR),
        answers=Answers(description="Of the live generations.", kind=Page[DeadLetterView]),
        call=list_dead_letters,
    ),
    _read(
        path="/v1/dead-letters/{id}",
        summary="Read a dead letter with its record",
        path_params=(
            PathParam(name="id", description="Id of a dead letter.", example="loyalty.3.1234"),
        ),
        answers=Answers(description="The dead letter.", kind=DeadLetterView),
        call=get_dead_letter,
    ),
)
