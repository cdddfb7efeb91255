"""Writing definitions: one row a revision, in one transaction an apply.

Guarantee: revisions of a workspace are taken under its lock and committed in their order, so
whoever reads them in order misses none. An endpoint's secrets are written with its revision or not
at all.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, LiteralString

import msgspec

from contracts.codec import JsonObject, encode
from services.api.definitions.planning import Change
from services.api.definitions.sealed_fields import SealedFields
from services.api.definitions.standing import Key
from services.api.definitions.stored import spec_of
from services.runtime.postgres import Session
from services.runtime.sealing import MasterKey

REVISION_MAX: Final = 2**63 - 1

_LOCK: LiteralString = (
    "SELECT pg_advisory_xact_lock(hashtextextended('definitions of ' || %s::text, 0))"
)
_LATEST: LiteralString = (
    "SELECT coalesce(max(revision), 0) FROM upshot.definitions WHERE workspace = %s"
)
_WRITE: LiteralString = """
INSERT INTO upshot.definitions (workspace, revision, kind, name, spec, created_at, created_by)
VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s)"""


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who changes definitions, and when."""

    workspace: str
    key_id: str
    at: datetime


async def lock_workspace(session: Session, workspace: str) -> None:
    """Make the transaction the only one that changes the workspace's definitions."""
    await session.execute(_LOCK, (workspace,))


async def latest_revision(session: Session, workspace: str) -> int:
    """The workspace's last revision; 0 before any."""
    row = await (await session.execute(_LATEST, (workspace,))).fetchone()
    assert row is not None, "an aggregate answers one row"
    return int(row[0])


async def write_changes(
    session: Session, author: Author, changes: Sequence[Change], master: MasterKey
) -> dict[Key, int]:
    """Write each change as a revision of its own; answers their numbers. The lock must be held."""
    revision = await latest_revision(session, author.workspace)
    written: dict[Key, int] = {}
    for change in changes:
        revision += 1
        await _write(session, author, revision, change.key, change.spec)
        if change.sealed is not None:
            await write_sealed(session, author.workspace, change.name, change.sealed, master)
        written[change.key] = revision
    return written


async def write_deletion(session: Session, author: Author, key: Key) -> int:
    """Write that a definition stands no longer; answers the revision. The lock must be held."""
    revision = await latest_revision(session, author.workspace) + 1
    await _write(session, author, revision, key, None)
    if key[0] == "endpoint":
        await session.execute(_FORGET, (author.workspace, key[1]))
    return revision


async def _write(
    session: Session, author: Author, revision: int, key: Key, spec: JsonObject | None
) -> None:
    text = None if spec is None else encode(spec).decode()
    row = (author.workspace, revision, *key, text, author.at, author.key_id)
    await session.execute(_WRITE, row)


_FIND_SEALED: LiteralString = """
SELECT secret, headers FROM upshot.endpoint_secrets WHERE workspace = %s AND endpoint = %s"""
_WRITE_SEALED: LiteralString = """
INSERT INTO upshot.endpoint_secrets (workspace, endpoint, secret, headers) VALUES (%s, %s, %s, %s)
ON CONFLICT (workspace, endpoint) DO UPDATE SET
    secret = excluded.secret,
    headers = excluded.headers,
    previous_secret =
        CASE WHEN %s THEN NULL ELSE endpoint_secrets.previous_secret END,
    previous_until =
        CASE WHEN %s THEN NULL ELSE endpoint_secrets.previous_until END"""
_FORGET: LiteralString = (
    "DELETE FROM upshot.endpoint_secrets WHERE workspace = %s AND endpoint = %s"
)


async def write_sealed(
    session: Session, workspace: str, endpoint: str, sealed: SealedFields, master: MasterKey
) -> None:
    """Seal an endpoint's values: the secret as its own text, the headers as a JSON object.

    A secret that a document replaces signs no longer; only a rotation lets it sign on.
    """
    row = await (await session.execute(_FIND_SEALED, (workspace, endpoint))).fetchone()
    headers: dict[str, str] = {}
    if row is not None and row[1] is not None:
        stood = _texts(master.unwrap(row[1]))
        headers = {name: stood[name] for name in sealed.kept_headers if name in stood}
    headers |= sealed.headers
    if sealed.secret is not None:
        secret = master.wrap(sealed.secret.encode())
    else:
        assert row is not None, "an endpoint without a new secret has one already"
        secret = bytes(row[0])
    replaced = sealed.secret is not None
    wrapped = master.wrap(encode(headers)) if headers else None
    values = (workspace, endpoint, secret, wrapped, replaced, replaced)
    await session.execute(_WRITE_SEALED, values)


def _texts(plain: bytes) -> Mapping[str, str]:
    return msgspec.json.decode(plain, type=dict[str, str])


_ROTATE: LiteralString = """
UPDATE upshot.endpoint_secrets
SET previous_secret = secret, previous_until = %s, secret = %s
WHERE workspace = %s AND endpoint = %s"""


async def write_rotation(
    session: Session, workspace: str, endpoint: str, secret: str, until: datetime, master: MasterKey
) -> None:
    """Put a new secret in place; the old one signs on ``until`` then."""
    wrapped = master.wrap(secret.encode())
    await session.execute(_ROTATE, (until, wrapped, workspace, endpoint))


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of one definition; ``spec`` None where it deleted."""

    revision: int
    kind: str
    name: str
    spec: JsonObject | None
    created_at: datetime
    created_by: str


_REVISIONS: LiteralString = """
SELECT revision, kind, name, spec::text, created_at, created_by FROM upshot.definitions
WHERE workspace = %s AND kind = %s AND name = %s AND revision < %s
ORDER BY revision DESC LIMIT %s"""

_PAGE: LiteralString = """
SELECT revision, kind, name, spec::text, created_at, created_by FROM (
    SELECT DISTINCT ON (name) revision, kind, name, spec, created_at, created_by
    FROM upshot.definitions WHERE workspace = %s AND kind = %s AND name > %s
    ORDER BY name, revision DESC
) AS latest WHERE spec IS NOT NULL ORDER BY name LIMIT %s"""


async def read_revisions(
    session: Session, workspace: str, key: Key, *, before: int, limit: int
) -> list[Revision]:
    """The revisions of one definition, newest first, those below ``before``."""
    values = (workspace, *key, before, limit)
    return [_revision(row) for row in await (await session.execute(_REVISIONS, values)).fetchall()]


async def read_page(
    session: Session, workspace: str, kind: str, *, after: str, limit: int
) -> list[Revision]:
    """What stands of one kind, by name, above ``after``."""
    values = (workspace, kind, after, limit)
    return [_revision(row) for row in await (await session.execute(_PAGE, values)).fetchall()]


def _revision(row: tuple[object, ...]) -> Revision:
    revision, kind, name, text, created_at, created_by = row
    assert isinstance(revision, int) and isinstance(kind, str) and isinstance(name, str)
    assert isinstance(created_at, datetime) and isinstance(created_by, str)
    return Revision(
        revision=revision,
        kind=kind,
        name=name,
        spec=spec_of(text) if isinstance(text, str) else None,
        created_at=created_at,
        created_by=created_by,
    )
