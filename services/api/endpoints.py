"""Endpoints: how they fare, new secrets for them, and letting one be sent to again."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from services.api.call import Call, Reply, missing
from services.api.definitions import store
from services.api.definitions.differences import differences
from services.api.definitions.planning import Change
from services.api.definitions.routes import RELAY_SECONDS
from services.api.definitions.sealed_fields import digest_of, new_secret
from services.api.definitions.standing import Standing
from services.api.routes import Answers, PathParam, Route
from services.dispatcher import queries
from services.dispatcher.queries import EndpointState
from services.runtime.problems import ProblemError, conflict

TAG: Final = "Endpoints"
ROTATION_OVERLAP: Final = timedelta(hours=24)
"""How long a secret that was rotated out signs on beside its successor."""
ENDPOINT = PathParam(name="endpoint", description="Name of an endpoint.", example="shop")


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and how it fares; write-only values show their digests."""

    name: str
    revision: int
    url: str
    spec: dict[str, object]
    state: str
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    last_success_at: datetime | None
    success_rate: float | None
    waiting_count: int
    object: str = "endpoint"


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """A new secret, answered this once; the old one signs on until ``previous_until``."""

    name: str
    revision: int
    secret: str
    previous_until: datetime


async def get_endpoint(call: Call) -> Reply:
    """How an endpoint fares."""
    async with call.session() as session:
        name = call.path["endpoint"]
        found = await call.api.compiled.load_one(session, call.workspace, "endpoint", name)
        if found is None:
            raise missing(f"endpoint {name}")
        state = await queries.find_endpoint_state(session, call.workspace, name)
    return Reply(value=_view(found, state))


async def enable_endpoint(call: Call) -> Reply:
    """Let an endpoint be sent to again; what was disabled meanwhile is to be redriven."""
    async with call.session() as session:
        name = call.path["endpoint"]
        found = await call.api.compiled.load_one(session, call.workspace, "endpoint", name)
        if found is None:
            raise missing(f"endpoint {name}")
        state = await queries.enable_endpoint(session, call.workspace, name)
    return Reply(value=_view(found, state))


async def rotate_endpoint(call: Call) -> Reply:
    """Draw a new secret; its digest is a revision of the endpoint's definition."""
    name = call.path["endpoint"]
    secret, until = new_secret(), call.started_at + ROTATION_OVERLAP
    async with call.api.changing, call.session() as session, session.transaction():
        await store.lock_workspace(session, call.workspace)
        found = await call.api.compiled.load_one(session, call.workspace, "endpoint", name)
        if found is None:
            raise missing(f"endpoint {name}")
        if found.definition is None:
            raise ProblemError(conflict(f"The endpoint {name} is not understood; write it anew."))
        digest = digest_of(call.api.master, call.workspace, name)
        spec = {**found.spec, "secret": digest("/secret", secret)}
        change = Change(
            kind="endpoint",
            name=name,
            spec=spec,
            definition=found.definition,
            pointer="",
            was=found,
            diff=differences(found.spec, spec),
            sealed=None,
        )
        author = store.Author(
            workspace=call.workspace, key_id=call.holder.key_id, at=call.started_at
        )
        written = await store.write_changes(session, author, [change], call.api.master)
        await store.write_rotation(session, call.workspace, name, secret, until, call.api.master)
    await call.api.relay.relayed(RELAY_SECONDS)
    revision = written["endpoint", name]
    return Reply(value=Rotated(name=name, revision=revision, secret=secret, previous_until=until))


def _view(found: Standing, state: EndpointState) -> EndpointView:
    return EndpointView(
        name=found.name,
        revision=found.revision,
        url=str(found.spec.get("url", "")),
        spec=dict(found.spec),
        state=state.state,
        disabled_at=state.disabled_at,
        disabled_reason=state.disabled_reason,
        failing_since=state.failing_since,
        last_success_at=state.last_success_at,
        success_rate=state.success_rate,
        waiting_count=state.waiting_count,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/endpoints/{endpoint}",
        tag=TAG,
        summary="Read how an endpoint fares",
        scopes=("definitions:read",),
        path_params=(ENDPOINT,),
        answers=Answers(description="Its state and success rate.", kind=EndpointView),
        call=get_endpoint,
    ),
    Route(
        method="POST",
        path="/v1/endpoints/{endpoint}/rotate",
        tag=TAG,
        summary="Draw a new secret",
        scopes=("definitions:write",),
        path_params=(ENDPOINT,),
        answers=Answers(description="The secret, this once.", kind=Rotated),
        call=rotate_endpoint,
    ),
    Route(
        method="POST",
        path="/v1/endpoints/{endpoint}/enable",
        tag=TAG,
        summary="Let an endpoint be sent to again",
        scopes=("definitions:write",),
        path_params=(ENDPOINT,),
        answers=Answers(description="Its state now.", kind=EndpointView),
        call=enable_endpoint,
    ),
)
