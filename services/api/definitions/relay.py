"""Relaying revisions to the topic ``definitions``, in their order.

Guarantee: every committed revision comes to stand in the topic, a workspace's in the order of their
numbers; after a crash one may stand twice, with the same record id, and readers pass over a
revision that is not greater than the last. One process relays at a time, under an advisory lock.
Before a revision that moves a test clock comes to stand there, every partition of
``customer.events`` has the clock's move: whoever goes by the revision comes after it.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Final, LiteralString

import msgspec

from contracts.administration import DEFINITION_CHANGED, DefinitionChanged
from contracts.cloudevent import CloudEvent
from contracts.codec import encode, raw
from contracts.identifiers import derived_id
from contracts.topics import DEFINITIONS
from services.api.clock_records import Shown, append_clocks
from services.runtime.kafka.errors import KafkaUnavailableError, OutcomeUnknownError
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.logging import logger
from services.runtime.postgres import DatabaseUnavailableError, Pool, Session, translated

SOURCE: Final = "definitions"
ROWS_MAX: Final = 100
"""Revisions of one batch, 50 MB at most: a broker takes them within ``APPEND_SECONDS``."""
APPEND_SECONDS: Final = 3.0
"""Deadline of one append; with the clocks' below the five seconds that a session may stand idle in
its transaction."""
CLOCKS_SECONDS: Final = 1.5
"""Deadline of telling partitions about clocks: a small record to each."""
PAUSE_SECONDS: Final = 1.0
"""Between two looks for what a crash left behind, and after an append that failed."""

_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('relay of definitions', 0))"
_FIND: LiteralString = """
SELECT workspace, revision, kind, name, spec::text, created_at FROM upshot.definitions
WHERE NOT relayed ORDER BY workspace, revision LIMIT %s"""
_MARK: LiteralString = """
UPDATE upshot.definitions SET relayed = true
FROM unnest(%s::text[], %s::bigint[]) AS done (workspace, revision)
WHERE definitions.workspace = done.workspace AND definitions.revision = done.revision"""
_OUTAGES: Final = (DatabaseUnavailableError, KafkaUnavailableError, OutcomeUnknownError)
_log = logger(__name__)


class _Row(msgspec.Struct, frozen=True):
    workspace: str
    revision: int
    kind: str
    name: str
    spec: str | None
    created_at: datetime


class _Clock(msgspec.Struct, frozen=True):
    """What of a workspace's settings says that it is on a test clock."""

    clock_at: datetime | None = None


class DefinitionsRelay:
    """Relays in the background; woken after each commit, and once a second by itself."""

    def __init__(self, pool: Pool, producer: Producer, *, partitions: int) -> None:
        self._pool = pool
        self._producer = producer
        self._partitions = partitions
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rounds: list[asyncio.Future[None]] = []
        self.is_caught_up = False

    def start(self) -> None:
        """Begin to relay."""
        self._task = asyncio.create_task(self._run(), name="definitions relay")

    async def stop(self) -> None:
        """Stop; what is not relayed stays for the next process."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def relayed(self, timeout_seconds: float) -> bool:
        """Relay what is committed by now; false when that takes longer than the timeout."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rounds.append(done)
        self._woken.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                await done
        except TimeoutError:
            return False
        finally:
            with suppress(ValueError):
                self._rounds.remove(done)
        return True

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            waiting = list(self._rounds)
            try:
                while await self.relay_once() == ROWS_MAX:
                    pass
            except Exception as error:  # noqa: BLE001 - a relay that ended would hold all up unseen
                is_ours = not isinstance(error, _OUTAGES)
                reason = type(error).__name__
                _log.warning("Revisions wait to be relayed.", reason=reason, exc_info=is_ours)
                self.is_caught_up = False
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self.is_caught_up = True
            for done in waiting:
                if not done.done():
                    done.set_result(None)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._woken.wait()

    async def relay_once(self) -> int:
        """Append the next batch of revisions; answers how many they were.

        Raises:
            DatabaseUnavailableError: Postgres did not answer.
            KafkaUnavailableError: nothing was appended.
            OutcomeUnknownError: the batch may stand in the topic and will be appended again.
        """
        with translated():
            async with self._pool.connection() as session, session.transaction():
                await session.execute(_LOCK)
                rows = await _find(session)
                if rows:
                    await self._append(rows)
                    marks = ([row.workspace for row in rows], [row.revision for row in rows])
                    await session.execute(_MARK, marks)
                return len(rows)

    async def _append(self, rows: list[_Row]) -> None:
        if clocks := _clocks(rows):
            await append_clocks(
                self._producer,
                clocks,
                partitions=self._partitions,
                deadline_seconds=CLOCKS_SECONDS,
            )
        records = [Outgoing(_subject(row).encode(), encode(_record(row))) for row in rows]
        await self._producer.append(DEFINITIONS, 0, records, deadline_seconds=APPEND_SECONDS)


async def _find(session: Session) -> list[_Row]:
    rows = await (await session.execute(_FIND, (ROWS_MAX,))).fetchall()
    return [_Row(*row) for row in rows]


def _clocks(rows: list[_Row]) -> list[Shown]:
    """What the test clocks among these revisions show, the last of each workspace."""
    found: dict[str, Shown] = {}
    for row in rows:
        if row.kind == "workspace" and row.spec is not None:
            at = msgspec.json.decode(row.spec, type=_Clock).clock_at
            if at is not None:
                found[row.workspace] = Shown(workspace=row.workspace, revision=row.revision, at=at)
    return list(found.values())


def _subject(row: _Row) -> str:
    return f"{row.kind}/{row.name}"


def _record(row: _Row) -> CloudEvent:
    spec = msgspec.Raw(b"null" if row.spec is None else row.spec.encode())
    changed = DefinitionChanged(kind=row.kind, name=row.name, spec=spec)
    record_id = derived_id("revision_", row.workspace, str(row.revision))
    return CloudEvent(
        id=record_id,
        source=SOURCE,
        type=DEFINITION_CHANGED,
        subject=_subject(row),
        time=row.created_at,
        workspace=row.workspace,
        recordedtime=row.created_at,
        definitionsrevision=row.revision,
        data=raw(changed),
        correlationid=record_id,
    )
