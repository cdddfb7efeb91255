"""A workspace's clock over HTTP: what it shows, and moving a test clock.

Guarantee: a test clock moves forward only, by a revision of the workspace's settings; what was
answered stands in every partition of the log. Where the log does not acknowledge in time the clock
moved all the same, and the relay of definitions tells the partitions.
"""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from contracts.definitions.fields import Document, ExactInstant
from contracts.definitions.workspaces import WorkspaceSettings, parse_workspace
from contracts.durations import Duration, add_duration, parse_duration
from contracts.errors import refuse
from contracts.places import Position
from services.api.call import Call, Reply
from services.api.clock_records import Shown, append_clocks
from services.api.definitions import clocks, store
from services.api.definitions.planning import Change
from services.api.definitions.routes import RELAY_SECONDS, REVISION_HEADER
from services.api.definitions.standing import Standing
from services.api.ingest import POSITION
from services.api.routes import Answers, Body, Route
from services.runtime.kafka.errors import KafkaUnavailableError, OutcomeUnknownError
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict, forbidden_by_rule, outcome_unknown

TAG: Final = "Workspaces"
APPEND_SECONDS: Final = 3.0
"""How long the partitions may take to acknowledge, as an append of definitions may."""
ADVANCE_MAX: Final = Duration(months=120, fixed=timedelta())
"""Of one call: what falls due in ten years is still told in minutes."""
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""A test clock shows no later time: rules add up to a hundred years to it, a few times over."""


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from error
    return text


class ClockDocument(Document):
    """Where a test clock goes: to an instant, or on by an ISO 8601 duration; one of the two."""

    to: ExactInstant | None = None
    advance: Annotated[str, AfterValidator(_duration)] | None = None


class ClockView(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace's clock shows; ``revision`` is the one that moved it."""

    clock: Literal["system", "test"]
    now: datetime
    object: Literal["clock"] = "clock"
    revision: int | UnsetType = UNSET


def moved(settings: WorkspaceSettings, document: ClockDocument) -> datetime:
    """Decide where a test clock goes.

    Raises:
        RefusedError: the document does not say where to.
        ProblemError: 409, the clock is the system's; 422, that is no move forward, or too far.
    """
    now, zone = settings.clock_at, ZoneInfo(settings.timezone)
    if (document.to is None) is (document.advance is None):
        raise refuse("", "exactly-one", "takes one of to and advance")
    if now is None:
        detail = "The workspace is on the system clock, which nobody moves."
        raise ProblemError(conflict(detail, slug="clock-fixed"))
    to = document.to
    if document.advance is not None:
        to = add_duration(now, parse_duration(document.advance), zone)
    assert to is not None, "one of the two is given"
    if to <= now:
        detail = f"A test clock moves forward only, and shows {now.isoformat()} already."
        raise ProblemError(forbidden_by_rule(detail, slug="clock-not-forward"))
    if to > min(add_duration(now, ADVANCE_MAX, zone), LATEST):
        detail = f"A call moves the clock by ten years at most, and none beyond {LATEST.year}."
        raise ProblemError(forbidden_by_rule(detail, slug="clock-too-far"))
    return to


async def get_clock(call: Call) -> Reply:
    """What the workspace's clock shows."""
    async with call.session() as session:
        standing = await _standing(call, session)
    at = clocks.shown(standing)
    if standing is None or at is None:
        return Reply(value=ClockView(clock="system", now=call.started_at))
    return Reply(value=ClockView(clock="test", now=at, revision=standing.revision))


async def post_clock(call: Call) -> Reply:
    """Move the workspace's test clock; answers when every partition has it."""
    document = call.document(ClockDocument)
    async with call.api.changing, call.session() as session, session.transaction():
        await store.lock_workspace(session, call.workspace)
        shown = await _move(call, session, document)
    positions = await _tell(call, shown)
    await call.api.relay.relayed(RELAY_SECONDS)
    return Reply(
        value=ClockView(clock="test", now=shown.at, revision=shown.revision),
        headers=(
            (POSITION[0], ", ".join(str(each) for each in positions)),
            (REVISION_HEADER, str(shown.revision)),
        ),
    )


async def _move(call: Call, session: Session, document: ClockDocument) -> Shown:
    """Write the move as a revision of the settings. The workspace's lock must be held."""
    standing = await _standing(call, session)
    settings = None if standing is None else standing.definition
    if not isinstance(settings, WorkspaceSettings):
        settings = WorkspaceSettings()
    at = moved(settings, document)
    assert standing is not None, "a workspace is on a test clock by its settings"
    spec = clocks.set_to(standing.spec, at)
    change = Change(
        kind=standing.kind,
        name=standing.name,
        spec=spec,
        definition=parse_workspace(standing.name, spec),
        pointer="",
        was=standing,
        diff=(),
        sealed=None,
    )
    author = store.Author(workspace=call.workspace, key_id=call.holder.key_id, at=call.started_at)
    written = await store.write_changes(session, author, [change], call.api.master)
    return Shown(workspace=call.workspace, revision=written[change.key], at=at)


async def _standing(call: Call, session: Session) -> Standing | None:
    return await call.api.compiled.load_one(session, call.workspace, "workspace", call.workspace)


async def _tell(call: Call, shown: Shown) -> list[Position]:
    try:
        return await append_clocks(
            call.api.producer,
            [shown],
            partitions=call.api.settings.partitions,
            deadline_seconds=APPEND_SECONDS,
        )
    except (KafkaUnavailableError, OutcomeUnknownError) as error:
        detail = (
            f"The clock moved to {shown.at.isoformat()} by revision {shown.revision}, but the log"
            " did not acknowledge in time: its partitions are told when it does. Do not advance"
            " again; GET /v1/clock says what the clock shows."
        )
        raise ProblemError(outcome_unknown(detail)) from error


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/clock",
        tag=TAG,
        summary="Read the workspace's clock",
        scopes=("definitions:read",),
        answers=Answers(description="What the clock shows.", kind=ClockView),
        call=get_clock,
    ),
    Route(
        method="POST",
        path="/v1/clock",
        tag=TAG,
        summary="Move the workspace's test clock forward",
        scopes=("definitions:write",),
        body=Body(description="Where to, at most ten years on.", document=ClockDocument),
        answers=Answers(
            description="What the clock shows in every partition of the log.",
            kind=ClockView,
            headers=(POSITION, (REVISION_HEADER, "The revision that moved the clock.")),
        ),
        problems=(HTTPStatus.CONFLICT.value, HTTPStatus.UNPROCESSABLE_ENTITY.value),
        call=post_clock,
    ),
)
