"""The database under all runs: three generations of each subject, emptied for every run.

The first is live, the second is built beside it, the third is the rebuild that both are measured
against. Schemas are emptied rather than made again, which would take longer than a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from psycopg import sql

from projections.kernel import generations
from projections.kernel.checkpoint import LOG_START, Progress
from projections.kernel.generations import Generation
from projections.kernel.projection import Projection
from projections.loyalty.projection import Loyalty
from services.runtime.postgres import connect
from tests.conformance.echoing import Echoing
from tests.conformance.joining import Granting, Segmenting
from tests.conformance.logs import PARTITIONS
from tests.simulation.reminded import LATER, SOON, Gathered, Reminded
from tests.simulation.sessions import Database
from tests.simulation.stories import OUTCOME
from tests.simulation.telling import Telling

SUBJECTS: dict[str, Callable[[], Sequence[Projection[Any]]]] = {
    "loyalty": lambda: [Loyalty()],
    "reminding": lambda: [Reminded(after=SOON)],
    "reminding later": lambda: [Reminded(after=LATER)],
    "gathering": lambda: [Gathered(after=SOON)],
    "gathering later": lambda: [Gathered(after=LATER)],
    "telling": lambda: [Telling(late=False)],
    "telling late": lambda: [Telling(late=True)],
    "echoing": lambda: [Echoing(OUTCOME)],
    "granting": lambda: [Segmenting(), Granting()],
}
"""What is run together, by name; those of one projection share its generations."""
RUNS_BETWEEN_TRUNCATIONS = 50
"""Deleting leaves rows behind, truncating takes ten times as long."""

_RESET = """
UPDATE {} SET next_offset = 0, owner_epoch = 0, record_id = NULL, hold_at = NULL, stopped = NULL,
    logical_time = {}, progress = {}, live = {}"""
_STATES = """
UPDATE upshot.generations SET state = 'building', retired_at = NULL WHERE projection = {name};
UPDATE upshot.generations SET state = 'live' WHERE projection = {name} AND generation = 1"""
_TABLES = """
SELECT table_schema, table_name FROM information_schema.tables
WHERE table_name <> ALL (%s) AND table_schema = ANY (%s)"""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A projection that takes part in a run, with its generations.

    The first is live at the start, the second is built beside it, the third to be rebuilt into.
    """

    projection: Projection[Any]
    generations: list[Generation]

    @property
    def run(self) -> list[Generation]:
        """Those that processes fill."""
        return self.generations[:2]


class Ground:
    """The schemas of every subject."""

    def __init__(self, database: Database, made: dict[str, list[Generation]]) -> None:
        self.database = database
        self._made = made
        self._runs = 0
        self._tables = {name: self._tables_of(name) for name in made}

    def part(self, projection: Projection[Any]) -> Part:
        """Bring a projection's generations to their start."""
        self._empty(projection.name)
        return Part(projection=projection, generations=self._made[projection.name])

    def _empty(self, projection: str) -> None:
        self._runs += 1
        tables = self._tables[projection]
        truncate = self._runs % RUNS_BETWEEN_TRUNCATIONS == 0
        form = sql.SQL("TRUNCATE {}" if truncate else "DELETE FROM {}")
        statements: list[sql.Composable] = [form.format(each) for each in tables]
        statements += [self._reset(generation) for generation in self._made[projection]]
        statements.append(sql.SQL(_STATES).format(name=sql.Literal(projection)))
        self.database.monitor.execute(sql.SQL("; ").join(statements))

    def _reset(self, generation: Generation) -> sql.Composable:
        return sql.SQL(_RESET).format(
            sql.Identifier(generation.schema, "checkpoints"),
            sql.Literal(LOG_START),
            sql.Literal(msgspec.json.encode(Progress()).decode()),
            sql.Literal(generation.number != 2),
        )

    def _tables_of(self, projection: str) -> list[sql.Identifier]:
        schemas = [each.schema for each in self._made[projection]]
        kept = ["checkpoints", "migrations"]
        rows = self.database.monitor.execute(_TABLES, (kept, schemas)).fetchall()
        return [sql.Identifier(schema, table) for schema, table in rows]


async def new_ground(conninfo: str) -> Ground:
    """Make the generations in a database that has the control schema."""
    session = await connect(conninfo)
    made: dict[str, list[Generation]] = {}
    for subject in [each for make in SUBJECTS.values() for each in make()]:
        if subject.name in made:
            continue
        version, migrations = subject.version, subject.migrations
        live = await generations.ensure_live(
            session, subject.name, version=version, partitions=PARTITIONS, migrations=migrations
        )
        others = [
            await generations.make_next(
                session, subject.name, version=version, partitions=PARTITIONS, migrations=migrations
            )
            for _ in range(2)
        ]
        made[subject.name] = [live, *others]
    await session.close()
    return Ground(Database(conninfo), made)
