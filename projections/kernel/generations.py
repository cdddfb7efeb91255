"""Generations of a projection: each a schema of its own, filled from the log, one of them live.

Guarantee: a generation has a checkpoint for every partition before anything reads into it, and is
written only by the model's version that made it.
"""

from pathlib import Path
from typing import Literal, LiteralString

import msgspec
from psycopg import sql

from projections.kernel.checkpoint import LOG_START, Progress
from projections.kernel.errors import ModelVersionError
from services.runtime.postgres import Session, migrate, translated

MIGRATIONS = Path(__file__).parent / "migrations"

GenerationState = Literal["live", "building", "dropped"]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One generation; ``schema`` is where its tables are, ``is_retired`` one that was live."""

    projection: str
    number: int
    state: GenerationState
    model_version: int
    partitions: int
    is_retired: bool = False

    @property
    def schema(self) -> str:
        """Name of the Postgres schema."""
        return schema_of(self.projection, self.number)

    @property
    def group(self) -> str:
        """Name of the consumer group that fills it."""
        return f"upshot.{self.projection}.g{self.number}"

    def check(self, version: int) -> None:
        """Refuse to write with another version of the model; raises ``ModelVersionError``."""
        if self.model_version != version:
            raise ModelVersionError(
                f"{self.schema} was written by version {self.model_version} of the model, "
                f"this is version {version}: run `upshot rebuild {self.projection}`"
            )


def schema_of(projection: str, number: int) -> str:
    """Name the schema of a generation."""
    return f"{projection}_g{number}"


_LIST: LiteralString = """
SELECT projection, generation AS number, state, model_version, partitions,
    retired_at IS NOT NULL
FROM upshot.generations WHERE projection = %s AND state <> 'dropped' ORDER BY generation"""
_MAKE: LiteralString = """
INSERT INTO upshot.generations (projection, generation, state, model_version, partitions)
SELECT %(projection)s, coalesce(max(generation), 0) + 1, %(state)s, %(version)s, %(partitions)s
FROM upshot.generations WHERE projection = %(projection)s
RETURNING generation"""
_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_CHECKPOINTS: LiteralString = """
INSERT INTO {} (partition, next_offset, owner_epoch, logical_time, progress, live)
SELECT p, 0, 0, %s, %s::jsonb, %s FROM generate_series(0, %s - 1) AS p"""
_LAST_RETIRED: LiteralString = """
SELECT generation FROM upshot.generations
WHERE projection = %s AND state = 'building' AND retired_at IS NOT NULL
ORDER BY retired_at DESC LIMIT 1"""
_STOPPED: LiteralString = """
SELECT stopped FROM {} WHERE stopped IS NOT NULL ORDER BY partition LIMIT 1"""
_DROPPED: LiteralString = """
UPDATE upshot.generations SET state = 'dropped'
WHERE projection = %s AND generation = %s AND state = 'building'"""


async def standing(session: Session, projection: str) -> list[Generation]:
    """List the generations of a projection that are not dropped.

    Raises:
        DatabaseUnavailableError: Postgres is away.
    """
    with translated():
        rows = await (await session.execute(_LIST, (projection,))).fetchall()
    return [
        Generation(
            projection=row[0],
            number=row[1],
            state=row[2],
            model_version=row[3],
            partitions=row[4],
            is_retired=row[5],
        )
        for row in rows
    ]


async def live(session: Session, projection: str) -> Generation | None:
    """Find the live generation; None before the projection ran for the first time."""
    return next((g for g in await standing(session, projection) if g.state == "live"), None)


async def last_retired(session: Session, projection: str) -> int | None:
    """Find the generation that was live last and still stands."""
    row = await (await session.execute(_LAST_RETIRED, (projection,))).fetchone()
    return None if row is None else row[0]


async def standstill(session: Session, generation: Generation) -> str | None:
    """Say why a partition of a generation was stopped; None while all may move."""
    query = sql.SQL(_STOPPED).format(sql.Identifier(generation.schema, "checkpoints"))
    row = await (await session.execute(query)).fetchone()
    return None if row is None else row[0]


async def ensure_live(
    session: Session, projection: str, *, version: int, partitions: int, migrations: Path
) -> Generation:
    """Find the live generation, or make the first one; bring its tables up to date.

    Raises:
        DatabaseUnavailableError: Postgres is away.
        ModelVersionError: the live one was written by another version of the model.
    """
    with translated():
        return await _ensure_live(session, projection, version, partitions, migrations)


async def _ensure_live(
    session: Session, projection: str, version: int, partitions: int, migrations: Path
) -> Generation:
    async with session.transaction():
        await session.execute(_LOCK, (projection,))
        found = await live(session, projection)
        if found is None:
            return await _make(session, projection, "live", version, partitions, migrations)
        found.check(version)
        await migrate(session, found.schema, MIGRATIONS, migrations)
        return found


async def make_next(
    session: Session, projection: str, *, version: int, partitions: int, migrations: Path
) -> Generation:
    """Make the next generation, empty and silent, to be filled from offset zero."""
    async with session.transaction():
        await session.execute(_LOCK, (projection,))
        return await _make(session, projection, "building", version, partitions, migrations)


async def drop(session: Session, generation: Generation) -> bool:
    """Drop a generation that is not live, with its tables; False when it was not building."""
    async with session.transaction():
        cursor = await session.execute(_DROPPED, (generation.projection, generation.number))
        if cursor.rowcount == 0:
            return False
        schema = sql.Identifier(generation.schema)
        await session.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))
        return True


async def _make(
    session: Session,
    projection: str,
    state: GenerationState,
    version: int,
    partitions: int,
    migrations: Path,
) -> Generation:
    cursor = await session.execute(
        _MAKE,
        {"projection": projection, "state": state, "version": version, "partitions": partitions},
    )
    row = await cursor.fetchone()
    assert row is not None, "an INSERT … RETURNING answers its row"
    made = Generation(
        projection=projection,
        number=row[0],
        state=state,
        model_version=version,
        partitions=partitions,
    )
    await migrate(session, made.schema, MIGRATIONS, migrations)
    await session.execute(
        sql.SQL(_CHECKPOINTS).format(sql.Identifier(made.schema, "checkpoints")),
        (LOG_START, msgspec.json.encode(Progress()).decode(), state == "live", partitions),
    )
    return made
