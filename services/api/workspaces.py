"""Making another workspace: its settings as its first revision, and a key to it."""

from typing import Literal, LiteralString

import msgspec

from contracts.definitions.fields import DefinitionName, Document
from contracts.errors import RefusedError
from services.api.call import Call, Reply
from services.api.definitions import store
from services.api.definitions.planning import Submitted, plan_apply
from services.api.definitions.routes import RELAY_SECONDS
from services.api.keys import make_key
from services.api.routes import Answers, Body, Route
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict

TAG = "Workspaces"


class WorkspaceRequest(Document):
    """What makes a workspace; ``clock`` as in its definition."""

    name: DefinitionName
    clock: Literal["system", "test"] = "system"


class MadeWorkspace(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace just made; ``key`` is the secret of its admin key, answered this once."""

    name: str
    clock: str
    revision: int
    key_id: str
    key: str
    object: str = "workspace"


_EXISTS: LiteralString = """
SELECT EXISTS (SELECT FROM upshot.api_keys WHERE workspace = %(name)s)
    OR EXISTS (SELECT FROM upshot.definitions WHERE workspace = %(name)s)"""


async def post_workspace(call: Call) -> Reply:
    """Make a workspace that does not exist yet."""
    document = call.document(WorkspaceRequest)
    name = document.name
    submitted = Submitted(
        kind="workspace", name=name, spec={"clock": document.clock}, pointer="/workspace"
    )
    try:
        plan = plan_apply(name, [submitted], {}, call.api.master, at=call.started_at)
    except RefusedError as error:
        raise RefusedError(
            msgspec.structs.replace(
                fault, pointer=fault.pointer.removeprefix("/workspace").removeprefix("/spec")
            )
            for fault in error.faults
        ) from error
    author = store.Author(workspace=name, key_id=call.holder.key_id, at=call.started_at)
    async with call.api.changing, call.session() as session, session.transaction():
        await store.lock_workspace(session, name)
        if await _exists(session, name):
            raise ProblemError(conflict(f"The workspace {name} exists."))
        written = await store.write_changes(session, author, plan.changes, call.api.master)
        made = await make_key(
            session, workspace=name, name="admin", scopes=("admin",), at=call.started_at
        )
    await call.api.relay.relayed(RELAY_SECONDS)
    workspace = MadeWorkspace(
        name=name,
        clock=document.clock,
        revision=written["workspace", name],
        key_id=made.id,
        key=made.secret,
    )
    return Reply(value=workspace)


async def _exists(session: Session, name: str) -> bool:
    row = await (await session.execute(_EXISTS, {"name": name})).fetchone()
    assert row is not None, "EXISTS answers one row"
    return bool(row[0])


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/workspaces",
        tag=TAG,
        summary="Make a workspace",
        scopes=("admin",),
        body=Body(description="Its name and clock.", document=WorkspaceRequest),
        answers=Answers(description="The workspace, with its key.", kind=MadeWorkspace),
        problems=(409,),
        is_of_installation=True,
        call=post_workspace,
    ),
)
