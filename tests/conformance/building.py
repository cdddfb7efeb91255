"""Generations built by the real kernel from a log in memory, on a real database."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import msgspec
from psycopg import sql

from contracts.definitions.catalogue import Catalogue
from projections.kernel import checkpoint as checkpoints
from projections.kernel import generations
from projections.kernel.batch import Applier, Committed
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.errors import AwaitedError
from projections.kernel.generations import Generation
from projections.kernel.outbox import Relayed
from projections.kernel.partition import prefer_key_lookups
from projections.kernel.projection import Projection
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session, connect
from tests.conformance.logs import PARTITIONS, Log

W = TypeVar("W")

NOT_COMPARED = ("checkpoints", "outbox", "relays", "migrations")
"""Tables that say where a generation is, not what it believes."""

_relayed = msgspec.msgpack.Decoder(list[Relayed])


class KnownDefinitions:
    """Definitions that are all known already."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()

    async def wait_for(self, workspace: str, revision: int) -> None:
        assert revision <= self.catalogue.latest_revision(workspace), "tests define before"


class Build(Generic[W]):
    """A generation with an owner for each partition."""

    def __init__(
        self,
        projection: Projection[W],
        generation: Generation,
        session: Session,
        definitions: KnownDefinitions,
        *,
        live: bool,
    ) -> None:
        self.projection = projection
        self.generation = generation
        self.session = session
        self.held: dict[int, Checkpoint] = {}
        self.appliers: dict[int, Applier[W]] = {}
        self._definitions = definitions
        self._live = live

    async def claim(self, partition: int) -> Applier[W]:
        """Take a partition over with an applier of its own."""
        self.held[partition] = await checkpoints.claim(self.session, partition)
        applier = Applier(
            self.projection,
            self.session,
            self._definitions,
            live=self._live,
            partition=partition,
            partitions=PARTITIONS,
        )
        self.appliers[partition] = applier
        return applier

    async def apply(self, partition: int, records: Sequence[Incoming]) -> list[Committed]:
        """Apply records that follow the checkpoint."""
        commits = await self.appliers[partition].apply(self.held[partition], records)
        self.held[partition] = commits[-1].checkpoint
        return commits

    def pending(self, log: Log) -> dict[int, list[Incoming]]:
        """The records of each partition that are not applied yet."""
        found = {
            partition: records[self.held[partition].next_offset :]
            for partition, records in log.partitions.items()
        }
        return {partition: records for partition, records in found.items() if records}

    async def run(self, log: Log, *, order: random.Random | None = None, batch: int = 0) -> None:
        """Apply a whole log: batch after batch of ``batch`` records, 0 meaning all there are.

        With ``order``, partitions take turns at random and batches have random sizes.
        """
        held_back: set[int] = set()
        while waiting := self.pending(log):
            able = sorted(set(waiting) - held_back)
            assert able, "every partition waits for another one"
            partition = order.choice(able) if order else able[0]
            records = waiting[partition]
            size = order.randint(1, len(records)) if order else batch or len(records)
            try:
                await self.apply(partition, records[:size])
                held_back.clear()
            except AwaitedError:
                held_back.add(partition)

    async def live(self, log: Log, order: random.Random) -> None:
        """Apply a log as the live generation: what it puts out is appended to the log."""
        while waiting := self.pending(log):
            partition = order.choice(sorted(waiting))
            records = waiting[partition]
            try:
                commits = await self.apply(partition, records[: order.randint(1, len(records))])
            except AwaitedError:
                continue
            for relayed in relayed_by(commits):
                if relayed.topic == "customer.events":
                    log.append(relayed.key, relayed.value, partition=relayed.target)

    async def rows(self) -> dict[str, list[str]]:
        """Every row of the read model as text, by table, sorted."""
        names = await self._fetch(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = %s AND table_name <> ALL (%s) ORDER BY 1",
            self.generation.schema,
            list(NOT_COMPARED),
        )
        return {name: await self._rows_of(name) for name in names}

    async def count(self, table: str) -> int:
        return len(await self._rows_of(table))

    async def _rows_of(self, table: str) -> list[str]:
        name = sql.Identifier(self.generation.schema, table)
        query = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(name)
        return [row[0] for row in await (await self.session.execute(query)).fetchall()]

    async def _fetch(self, query: str, *parameters: object) -> list[str]:
        cursor = await self.session.execute(query.encode(), parameters)
        return [row[0] for row in await cursor.fetchall()]


def relayed_by(commits: Sequence[Committed]) -> Iterator[Relayed]:
    """Name what commits put out, in order."""
    for commit in commits:
        if commit.outbox is not None:
            yield from _relayed.decode(commit.outbox.records)


@asynccontextmanager
async def new_build(
    projection: Projection[W],
    conninfo: str,
    definitions: KnownDefinitions | None = None,
    *,
    live: bool = False,
) -> AsyncGenerator[Build[W]]:
    """Make an empty generation, with every partition claimed; it is dropped afterwards."""
    control = await connect(conninfo)
    generation = await generations.make_next(
        control,
        projection.name,
        version=projection.version,
        partitions=PARTITIONS,
        migrations=projection.migrations,
    )
    session = await connect(conninfo, schema=generation.schema)
    await prefer_key_lookups(session)
    build = Build(projection, generation, session, definitions or KnownDefinitions(), live=live)
    for partition in range(PARTITIONS):
        await build.claim(partition)
    try:
        yield build
    finally:
        await session.close()
        await generations.drop(control, generation)
        await control.close()
