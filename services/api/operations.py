"""Operators' requests: written to the log, carried out by the processors, followed by their rows.

Guarantee: a request that was answered stands on the topic ``operations``, which is the audit of who
asked for what. Of a projection one rebuild at a time is asked for. Which dead letters are redriven
or discarded is said in the request, each by its id.
"""

from datetime import datetime
from functools import partial
from typing import Annotated, Final, LiteralString, Self

import msgspec
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from uuid_utils import uuid7

from contracts.administration import OPERATION_REQUESTED, OperationRequested, OperationVerb
from contracts.cloudevent import CloudEvent
from contracts.codec import encode, raw
from contracts.decimals import exact_number
from contracts.definitions.fields import Document
from contracts.redrives import parse_letter
from contracts.topics import OPERATIONS, TOPICS
from services.api.call import CURSOR, LIMIT, Call, Page, Reply, missing, page, page_of, read_cursor
from services.api.projections import PROJECTION, TAG
from services.api.routes import Answers, Body, PathParam, Projection, Route
from services.runtime.kafka.producer import Outgoing
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict

APPEND_SECONDS: Final = 4.0
"""Deadline of the append of a request: Postgres lets a transaction idle for 5 s."""
GENERATION_MAX: Final = 2**31 - 1
LETTERS_MAX: Final = 500
"""Dead letters of one request: their ids fill half of what a body may have."""
NEWEST: Final = "9999-12-31T00:00:00+00:00"

OPERATION = PathParam(name="operation", description="Id of an operation.", example="op_0")


class OperationDocument(Document):
    """What is asked of which projection.

    ``generation`` names one for compare, promote and drop; absent, the newest beside the live one.
    ``letters`` are the ids of the dead letters to redrive or discard. ``emit_difference``: of a
    promote or rollback, to put out what corrects the outputs where the two generations differ.
    """

    verb: OperationVerb
    projection: Projection
    generation: (
        Annotated[int, BeforeValidator(exact_number), Field(ge=1, le=GENERATION_MAX)] | None
    ) = None
    letters: list[str] = Field(default_factory=list, max_length=LETTERS_MAX)
    emit_difference: bool = False

    @model_validator(mode="after")
    def _names_letters(self) -> Self:
        if (self.verb in {"redrive", "discard"}) is not bool(self.letters):
            raise PydanticCustomError("letters", "letters are named to redrive or discard them")
        if self.emit_difference and self.verb not in {"promote", "rollback"}:
            raise PydanticCustomError("emit_difference", "is for promote and rollback")
        for each in self.letters:
            if not _is_letter_of(each, self.projection):
                raise PydanticCustomError(
                    "letters", "letters are named by ids of this projection's dead letters"
                )
        return self


def _is_letter_of(named: str, projection: str) -> bool:
    try:
        return parse_letter(named).projection == projection
    except ValueError:
        return False


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """An operation: how far it is, and its report once it has ended."""

    id: str
    projection: str
    verb: str
    requested_by: str
    requested_at: datetime
    state: str
    progress: msgspec.Raw
    report: msgspec.Raw | None
    ended_at: datetime | None
    object: str = "operation"


class TopicView(msgspec.Struct, frozen=True, kw_only=True):
    """A topic of the log; ``end_offsets`` by partition."""

    name: str
    key: str
    partitions: int
    settings: dict[str, str]
    end_offsets: list[int]


_INSERT: LiteralString = """
INSERT INTO upshot.operations (id, projection, verb, requested_by, requested_at, state)
VALUES (%s, %s, %s, %s, %s, 'requested')"""
_LOCK_REBUILDS: LiteralString = (
    "SELECT pg_advisory_xact_lock(hashtextextended('rebuild of ' || %s::text, 0))"
)
_UNDER_WAY: LiteralString = """
SELECT id, state, progress ->> 'generation' FROM upshot.operations
WHERE projection = %s AND verb = 'rebuild' AND state IN ('requested', 'running') LIMIT 1"""
_FIND: LiteralString = """
SELECT id, projection, verb, requested_by, requested_at, state, progress::text, report::text,
    ended_at
FROM upshot.operations WHERE id = %s"""
_LIST: LiteralString = """
SELECT id, projection, verb, requested_by, requested_at, state, progress::text, report::text,
    ended_at
FROM upshot.operations
WHERE (%(projection)s::text IS NULL OR projection = %(projection)s)
    AND (requested_at, id) < (%(at)s::timestamptz, %(id)s)
ORDER BY requested_at DESC, id DESC LIMIT %(limit)s"""


async def post_operation(call: Call) -> Reply:
    """Append a request; the projection's processors carry it out."""
    document = call.document(OperationDocument)
    operation, at = f"op_{uuid7().hex}", call.started_at
    request = OperationRequested(
        operation=operation,
        projection=document.projection,
        verb=document.verb,
        requested_by=call.holder.key_id,
        generation=document.generation,
        letters=tuple(document.letters),
        emit_difference=document.emit_difference,
    )
    record = CloudEvent(
        id=operation,
        source="api",
        type=OPERATION_REQUESTED,
        subject=document.projection,
        time=at,
        workspace=call.workspace,
        recordedtime=at,
        definitionsrevision=0,
        correlationid=operation,
        data=raw(request),
    )
    outgoing = Outgoing(document.projection.encode(), encode(record))
    row = (operation, document.projection, document.verb, call.holder.key_id, at)
    async with call.session() as session, session.transaction():
        if document.verb == "rebuild":
            await _check_alone(session, document.projection)
        await session.execute(_INSERT, row)
        found = await (await session.execute(_FIND, (operation,))).fetchone()
        await call.api.producer.append(OPERATIONS, 0, [outgoing], deadline_seconds=APPEND_SECONDS)
    assert found is not None, "the row was written just now"
    return Reply(value=_view(found), status=202)


async def _check_alone(session: Session, projection: str) -> None:
    """Raise ``ProblemError`` 409 while a rebuild of the projection is under way."""
    await session.execute(_LOCK_REBUILDS, (projection,))
    found = await (await session.execute(_UNDER_WAY, (projection,))).fetchone()
    if found is None:
        return
    operation, state, generation = found
    how = f"is filling generation {generation}" if generation else f"is {state}"
    raise ProblemError(
        conflict(
            f"A rebuild of {projection} is under way: {operation} {how}. `upshot projections` "
            f"shows how far it is; `upshot drop {projection}` ends it.",
            slug="rebuild-under-way",
        )
    )


async def get_operation(call: Call) -> Reply:
    """One operation."""
    async with call.session() as session:
        found = await (await session.execute(_FIND, (call.path["operation"],))).fetchone()
    if found is None:
        raise missing("such operation")
    return Reply(value=_view(found))


async def list_operations(call: Call) -> Reply:
    """Operations, newest first."""
    cursor, limit = call.text("cursor"), call.limit()
    at, last_id = (NEWEST, "") if cursor is None else read_cursor(cursor, str, str)
    values = {
        "projection": call.text("projection"),
        "at": at,
        "id": last_id,
        "limit": limit + 1,
    }
    async with call.session() as session:
        rows = await (await session.execute(_LIST, values)).fetchall()
    views = [_view(row) for row in rows]
    return page_of(views, limit, lambda each: (each.requested_at.isoformat(), each.id))


def _view(row: tuple[object, ...]) -> OperationView:
    operation, projection, verb, by, at, state, progress, report, ended_at = row
    assert isinstance(operation, str) and isinstance(projection, str) and isinstance(verb, str)
    assert isinstance(by, str) and isinstance(at, datetime) and isinstance(state, str)
    assert isinstance(progress, str) and (ended_at is None or isinstance(ended_at, datetime))
    return OperationView(
        id=operation,
        projection=projection,
        verb=verb,
        requested_by=by,
        requested_at=at,
        state=state,
        progress=msgspec.Raw(progress.encode()),
        report=msgspec.Raw(report.encode()) if isinstance(report, str) else None,
        ended_at=ended_at,
    )


async def list_topics(call: Call) -> Reply:
    """Every topic of the log with its settings and ends."""
    views: list[TopicView] = []
    for topic in TOPICS:
        partitions = topic.partitions or call.api.settings.partitions
        ends = await call.api.log.ends(topic.name, range(partitions))
        views.append(
            TopicView(
                name=topic.name,
                key=topic.key,
                partitions=partitions,
                settings=topic.settings(),
                end_offsets=[ends[partition] for partition in range(partitions)],
            )
        )
    return page(views)


_read = partial(Route, method="GET", tag=TAG, scopes=("operations",), is_of_installation=True)

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/operations",
        tag=TAG,
        summary="Ask for a rebuild, compare, promote, rollback, drop, verify, redrive or discard",
        scopes=("operations",),
        body=Body(description="The verb and its projection.", document=OperationDocument),
        answers=Answers(
            description="The request stands in the log.", kind=OperationView, status=202
        ),
        problems=(409,),
        is_of_installation=True,
        call=post_operation,
    ),
    _read(
        path="/v1/operations",
        summary="List operations",
        query=(PROJECTION, LIMIT, CURSOR),
        answers=Answers(description="Newest first.", kind=Page[OperationView]),
        call=list_operations,
    ),
    _read(
        path="/v1/operations/{operation}",
        summary="Read an operation's state, progress and report",
        path_params=(OPERATION,),
        answers=Answers(description="The operation.", kind=OperationView),
        call=get_operation,
    ),
    _read(
        path="/v1/topics",
        summary="List the topics with settings and ends",
        answers=Answers(description="As the log has them.", kind=Page[TopicView]),
        call=list_topics,
    ),
)
