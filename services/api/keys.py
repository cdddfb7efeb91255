"""Keys: made, listed and revoked by whoever holds the scope ``admin``.

Guarantee: a secret is answered once, where it is made; afterwards only its digest is known.
"""

from datetime import datetime
from typing import Annotated, LiteralString

import msgspec
from pydantic import Field
from uuid_utils import uuid7

from contracts.definitions.fields import Document, ExactInstant
from contracts.errors import refuse
from services.api.call import CURSOR, LIMIT, Call, Page, Reply, missing, page_of, read_cursor
from services.api.routes import Answers, Body, PathParam, Route
from services.runtime.access import ADMIN_KEY_ID, SCOPES, Scope, digest_of, new_secret
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict

TAG = "Keys"
NAME_CHARS_MAX = 100
KEY = PathParam(name="key", description="Id of a key.", example="key_0")


class KeyDocument(Document):
    """What makes a key; ``expires_at`` absent: it holds until it is revoked."""

    name: str = Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
    expires_at: ExactInstant | None = None


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    object: str = "key"


class MadeKey(KeyView, frozen=True, kw_only=True):
    """A key just made, with its secret: the only answer that has it."""

    workspace: str
    secret: str


class RevokedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that lets nobody in any more; other processes may take a minute to know."""

    id: str
    deleted: bool = True
    object: str = "key"


_INSERT: LiteralString = """
INSERT INTO upshot.api_keys (id, workspace, name, digest, scopes, created_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)"""
_LIST: LiteralString = """
SELECT id, name, scopes, created_at, expires_at FROM upshot.api_keys
WHERE workspace = %s AND revoked_at IS NULL AND id > %s ORDER BY id LIMIT %s"""
_REVOKE: LiteralString = """
UPDATE upshot.api_keys SET revoked_at = %s
WHERE workspace = %s AND id = %s AND revoked_at IS NULL"""


async def make_key(
    session: Session,
    *,
    workspace: str,
    name: str,
    scopes: tuple[str, ...],
    at: datetime,
    expires_at: datetime | None = None,
) -> MadeKey:
    """Write a new key of a workspace; answers it with its secret."""
    key_id, secret = f"key_{uuid7().hex}", new_secret()
    row = (key_id, workspace, name, digest_of(secret), list(scopes), at, expires_at)
    await session.execute(_INSERT, row)
    return MadeKey(
        id=key_id,
        workspace=workspace,
        name=name,
        scopes=scopes,
        created_at=at,
        expires_at=expires_at,
        secret=secret,
    )


async def post_key(call: Call) -> Reply:
    """Make a key of the caller's workspace."""
    document = call.document(KeyDocument)
    if document.expires_at is not None and document.expires_at <= call.started_at:
        raise refuse("/expires_at", "range", "is not in the future")
    async with call.session() as session:
        made = await make_key(
            session,
            workspace=call.workspace,
            name=document.name,
            scopes=tuple(dict.fromkeys(document.scopes)),
            at=call.started_at,
            expires_at=document.expires_at,
        )
    return Reply(value=made)


async def list_keys(call: Call) -> Reply:
    """The workspace's keys that are not revoked."""
    cursor, limit = call.text("cursor"), call.limit()
    after = "" if cursor is None else str(read_cursor(cursor, str)[0])
    async with call.session() as session:
        found = await session.execute(_LIST, (call.workspace, after, limit + 1))
        rows = [
            KeyView(
                id=row[0], name=row[1], scopes=tuple(row[2]), created_at=row[3], expires_at=row[4]
            )
            for row in await found.fetchall()
        ]
    return page_of(rows, limit, lambda key: (key.id,))


async def delete_key(call: Call) -> Reply:
    """Revoke a key; the settings' own is not revoked here, since the settings say that it holds."""
    key_id = call.path["key"]
    if key_id == ADMIN_KEY_ID and call.workspace == call.api.settings.workspace:
        raise ProblemError(conflict("The admin key is changed by UPSHOT_ADMIN_KEY."))
    async with call.session() as session:
        done = await session.execute(_REVOKE, (call.started_at, call.workspace, key_id))
    if done.rowcount == 0:
        raise missing("such key")
    call.api.keys.forget()
    return Reply(value=RevokedKey(id=key_id))


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/keys",
        tag=TAG,
        summary="Make a key",
        scopes=("admin",),
        body=Body(description="The key's name and scopes.", document=KeyDocument),
        answers=Answers(description="The key with its secret, this once.", kind=MadeKey),
        call=post_key,
    ),
    Route(
        method="GET",
        path="/v1/keys",
        tag=TAG,
        summary="List the workspace's keys",
        scopes=("admin",),
        query=(LIMIT, CURSOR),
        answers=Answers(description="Without secrets.", kind=Page[KeyView]),
        call=list_keys,
    ),
    Route(
        method="DELETE",
        path="/v1/keys/{key}",
        tag=TAG,
        summary="Revoke a key",
        scopes=("admin",),
        path_params=(KEY,),
        answers=Answers(description="It is revoked.", kind=RevokedKey),
        problems=(409,),
        call=delete_key,
    ),
)
