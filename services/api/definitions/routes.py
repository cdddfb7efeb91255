"""The routes of definitions: put, get, list, revisions, delete, apply, and the plan of an apply."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from contracts.definitions import KINDS, LATER_KINDS
from contracts.errors import refuse
from services.api.call import CURSOR, LIMIT, Call, Page, Reply, missing, page_of, read_cursor
from services.api.definitions import clocks, store
from services.api.definitions.clock_changes import check_clock, stays_on_test_clock
from services.api.definitions.compatibility import check_stored_events
from services.api.definitions.documents import read_documents
from services.api.definitions.planning import (
    SPEC_BYTES_MAX,
    BreaksOthersError,
    Change,
    Plan,
    Submitted,
    check_delete,
    plan_apply,
)
from services.api.definitions.standing import Key, Standing
from services.api.definitions.views import (
    Applied,
    Changed,
    Created,
    DefinitionView,
    Deleted,
    Named,
)
from services.api.routes import (
    APPLY_BYTES_MAX,
    JSON,
    YAML,
    Answers,
    Body,
    Param,
    PathParam,
    Route,
)
from services.runtime.access import Scope
from services.runtime.problems import ProblemError, conflict

RELAY_SECONDS: Final = 2.0
"""How long an answer waits for the log to have the revision; it is durable before."""
REVISION_HEADER: Final = "Upshot-Definitions-Revision"

TAG: Final = "Definitions"
KIND = PathParam(
    name="kind",
    description="Kind of the definition.",
    example="event_type",
    choices=(*KINDS, *sorted(LATER_KINDS)),
)
NAME = PathParam(
    name="name",
    description="Name of the definition; a slash in it may be sent bare or as `%2F`.",
    example="left_review",
)
IF_MATCH = Param(
    name="If-Match",
    description="Revision that the definition must still have, as a bare number; 0 for none.",
    pattern=r'^"?[0-9]{1,18}"?$',
)
DRY_RUN = Param(name="dry_run", description="Answer the plan and change nothing.", form="boolean")
COMPATIBILITY = Param(
    name="compatibility",
    description="`none` lets an event type refuse events that are stored already.",
    choices=("none", "stored"),
)


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction wrote, or would have written."""

    plan: Plan
    revision: int
    written: dict[Key, int]


def _write_scope(kind: str) -> Scope:
    return "event_types:write" if kind == "event_type" else "definitions:write"


def _key(call: Call) -> Key:
    return call.path["kind"], call.path["name"]


async def put_definition(call: Call) -> Reply:
    """Create or replace one definition."""
    kind, name = _key(call)
    call.require(_write_scope(kind))
    document = Submitted(kind=kind, name=name, spec=call.json(), pointer="")
    outcome = await _apply(call, [document], guard=_guard(call))
    revision = outcome.written.get((kind, name))
    if revision is None:
        return _one(call, outcome.plan.unchanged[0])
    change = outcome.plan.changes[0]
    await call.api.relay.relayed(RELAY_SECONDS)
    view = DefinitionView(
        kind=kind,
        name=name,
        revision=revision,
        spec=dict(change.spec),
        updated_at=call.started_at,
        updated_by=call.holder.key_id,
        secret=_told(change),
    )
    return Reply(value=view, headers=_revision_headers(revision))


async def apply_definitions(call: Call) -> Reply:
    """Apply many documents, all or none; or say what that would do."""
    documents = read_documents(call)
    for document in documents:
        call.require(_write_scope(document.kind))
    outcome = await _apply(call, documents, guard=None)
    if outcome.written:
        await call.api.relay.relayed(RELAY_SECONDS)
    made = outcome.plan.changes
    applied = Applied(
        revision=outcome.revision,
        created=[
            Created(kind=each.kind, name=each.name, secret=_told(each, outcome.written))
            for each in made
            if each.was is None
        ],
        changed=[
            Changed(
                kind=each.kind,
                name=each.name,
                diff=each.diff,
                secret=_told(each, outcome.written),
            )
            for each in made
            if each.was is not None
        ],
        unchanged=[Named(kind=each.kind, name=each.name) for each in outcome.plan.unchanged],
        dry_run=call.flag("dry_run"),
    )
    return Reply(value=applied, headers=_revision_headers(outcome.revision))


async def _apply(call: Call, documents: Sequence[Submitted], *, guard: int | None) -> _Outcome:
    """Plan under the workspace's lock, and write unless the call only wants the plan."""
    async with call.api.changing, call.session() as session, session.transaction():
        await store.lock_workspace(session, call.workspace)
        standing = await call.api.compiled.load(session, call.workspace)
        if guard is not None:
            _check_guard(standing.get((documents[0].kind, documents[0].name)), guard)
        plan = _planned(call, documents, standing)
        await check_clock(session, call.workspace, plan)
        if call.text("compatibility") != "none":
            await check_stored_events(call, session, plan)
        written: dict[Key, int] = {}
        if not call.flag("dry_run"):
            written = await store.write_changes(
                session, _author(call), plan.changes, call.api.master
            )
        revision = await store.latest_revision(session, call.workspace)
    return _Outcome(plan=plan, revision=revision, written=written)


def _planned(call: Call, documents: Sequence[Submitted], standing: dict[Key, Standing]) -> Plan:
    try:
        return plan_apply(call.workspace, documents, standing, call.api.master, at=call.started_at)
    except BreaksOthersError as error:
        raise _broken(error, "Definitions that stand contradict the change.") from error


def _broken(error: BreaksOthersError, detail: str, slug: str = "conflict") -> ProblemError:
    return ProblemError(conflict(detail, slug=slug, errors=error.faults))


async def get_definition(call: Call) -> Reply:
    """One definition as it stands."""
    kind, name = _key(call)
    async with call.session() as session:
        found = await call.api.compiled.load_one(session, call.workspace, kind, name)
    if found is None:
        raise missing(f"{kind} {name}")
    return _one(call, found)


def _one(call: Call, found: Standing) -> Reply:
    assert found.name == call.path["name"], "the definition that the path names"
    view = DefinitionView(
        kind=found.kind,
        name=found.name,
        revision=found.revision,
        spec=dict(found.spec),
        updated_at=found.changed_at,
        updated_by=found.changed_by,
    )
    return Reply(value=view, headers=_revision_headers(found.revision))


async def list_definitions(call: Call) -> Reply:
    """What stands of one kind, by name."""
    cursor, limit = call.text("cursor"), call.limit()
    after = "" if cursor is None else str(read_cursor(cursor, str)[0])
    async with call.session() as session:
        rows = await store.read_page(
            session, call.workspace, call.path["kind"], after=after, limit=limit + 1
        )
    return page_of([_view(row) for row in rows], limit, lambda view: (view.name,))


async def list_revisions(call: Call) -> Reply:
    """The revisions of one definition, newest first; ``spec`` is null where it was deleted."""
    cursor, limit = call.text("cursor"), call.limit()
    before = store.REVISION_MAX if cursor is None else int(read_cursor(cursor, int)[0])
    async with call.session() as session:
        rows = await store.read_revisions(
            session, call.workspace, _key(call), before=before, limit=limit + 1
        )
    if not rows and cursor is None:
        raise missing(" ".join(_key(call)))
    return page_of([_view(row) for row in rows], limit, lambda view: (view.revision,))


def _view(row: store.Revision) -> DefinitionView:
    return DefinitionView(
        kind=row.kind,
        name=row.name,
        revision=row.revision,
        spec=None if row.spec is None else dict(row.spec),
        updated_at=row.created_at,
        updated_by=row.created_by,
    )


async def delete_definition(call: Call) -> Reply:
    """Delete one definition that no other one uses."""
    kind, name = _key(call)
    call.require("event_types:delete" if kind == "event_type" else "definitions:write")
    guard = _guard(call)
    async with call.api.changing, call.session() as session, session.transaction():
        await store.lock_workspace(session, call.workspace)
        standing = await call.api.compiled.load(session, call.workspace)
        if (kind, name) not in standing:
            raise missing(f"{kind} {name}")
        if guard is not None:
            _check_guard(standing[kind, name], guard)
        if clocks.shown(standing[kind, name]) is not None:
            raise stays_on_test_clock()
        try:
            check_delete(call.workspace, (kind, name), standing)
        except BreaksOthersError as error:
            detail = f"Other definitions use {kind} {name}."
            raise _broken(error, detail, slug="in-use") from error
        revision = await store.write_deletion(session, _author(call), (kind, name))
    await call.api.relay.relayed(RELAY_SECONDS)
    deleted = Deleted(kind=kind, name=name, revision=revision)
    return Reply(value=deleted, headers=_revision_headers(revision))


def _author(call: Call) -> store.Author:
    return store.Author(workspace=call.workspace, key_id=call.holder.key_id, at=call.started_at)


def _guard(call: Call) -> int | None:
    text = call.text("If-Match")
    if text is None:
        return None
    digits = text.strip('"')
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:  # noqa: PLR2004
        raise refuse("/headers/If-Match", "revision", "is not a revision's bare number")
    return int(digits)


def _check_guard(found: Standing | None, guard: int) -> None:
    revision = 0 if found is None else found.revision
    if revision != guard:
        detail = f"The definition is at revision {revision}, not at {guard}."
        raise ProblemError(conflict(detail, slug="revision-conflict"))


def _revision_headers(revision: int) -> tuple[tuple[str, str], ...]:
    return ((REVISION_HEADER, str(revision)), ("ETag", f'"{revision}"'))


def _told(change: Change, written: dict[Key, int] | None = None) -> str | UnsetType:
    """A secret that was generated here, if it was written at all."""
    if written is not None and change.key not in written:
        return UNSET
    sealed = change.sealed
    return sealed.secret if sealed and sealed.generated and sealed.secret else UNSET


_ONE = "/v1/definitions/{kind}/{name*}"
_WRITE_SCOPES: tuple[Scope, ...] = ("definitions:write", "event_types:write")
_SPEC = Body(description="The spec of the kind.", schema="DefinitionSpec", bytes_max=SPEC_BYTES_MAX)
_REVISION_ANSWER = ((REVISION_HEADER, "The revision that the definition has now."),)

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/definitions",
        tag=TAG,
        summary="Apply many definitions, all or none",
        scopes=_WRITE_SCOPES,
        query=(DRY_RUN, COMPATIBILITY),
        body=Body(
            description="Documents `{kind, name, spec}`: a JSON array, or YAML documents.",
            schema="Documents",
            media=(JSON, YAML),
            bytes_max=APPLY_BYTES_MAX,
        ),
        answers=Answers(
            description="What was created, changed and left as it was.",
            kind=Applied,
            headers=_REVISION_ANSWER,
        ),
        problems=(409,),
        call=apply_definitions,
    ),
    Route(
        method="GET",
        path="/v1/definitions/{kind}",
        tag=TAG,
        summary="List the definitions of a kind",
        scopes=("definitions:read",),
        path_params=(KIND,),
        query=(LIMIT, CURSOR),
        answers=Answers(description="By name.", kind=Page[DefinitionView]),
        call=list_definitions,
    ),
    Route(
        method="GET",
        path="/v1/definitions/{kind}/{name*}/revisions",
        tag=TAG,
        summary="List the revisions of a definition",
        scopes=("definitions:read",),
        path_params=(KIND, NAME),
        query=(LIMIT, CURSOR),
        answers=Answers(description="Newest first.", kind=Page[DefinitionView]),
        call=list_revisions,
    ),
    Route(
        method="GET",
        path=_ONE,
        tag=TAG,
        summary="Read a definition",
        scopes=("definitions:read",),
        path_params=(KIND, NAME),
        answers=Answers(
            description="The definition as it stands.",
            kind=DefinitionView,
            headers=_REVISION_ANSWER,
        ),
        call=get_definition,
    ),
    Route(
        method="PUT",
        path=_ONE,
        tag=TAG,
        summary="Create or replace a definition",
        scopes=_WRITE_SCOPES,
        path_params=(KIND, NAME),
        query=(COMPATIBILITY,),
        headers=(IF_MATCH,),
        body=_SPEC,
        answers=Answers(
            description="The definition as it stands now.",
            kind=DefinitionView,
            headers=_REVISION_ANSWER,
        ),
        problems=(409,),
        call=put_definition,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        tag=TAG,
        summary="Delete a definition that no other one uses",
        scopes=("definitions:write", "event_types:delete"),
        path_params=(KIND, NAME),
        headers=(IF_MATCH,),
        answers=Answers(description="It stands no longer.", kind=Deleted),
        problems=(409,),
        call=delete_definition,
    ),
)
