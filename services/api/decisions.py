"""Commands on points: a request is appended to the log, and answered when it is decided there.

Guarantee: a command answers what loyalty decided at the request's place, and the same key answers
the same again; where that does not stand in time the outcome is unknown, and said to be. However
many commands are under way, one question to Postgres looks them up and one asks for their outcomes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, LiteralString

import msgspec
from psycopg.errors import UndefinedTable

from contracts.cloudevent import CloudEvent
from contracts.codec import encode, raw
from contracts.identifiers import CustomerId
from contracts.partitioner import partition_of
from contracts.requests import (
    ADJUST_REQUESTED,
    JOIN_REQUESTED,
    AdjustRequested,
    JoinRequested,
    command_digest,
    request_key,
    spell_request_id,
)
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel import binary
from projections.loyalty import queries
from projections.loyalty.queries import Decided
from services.api.call import missing
from services.api.people import reads_as_id
from services.api.progress import NoReadModelError, Progress
from services.api.rounds import Rounds
from services.runtime.kafka.appender import Appender
from services.runtime.kafka.errors import OutcomeUnknownError
from services.runtime.kafka.producer import Outgoing
from services.runtime.postgres import DatabaseUnavailableError, Pool, Session, translated
from services.runtime.problems import ProblemError, conflict, outcome_unknown

COMMAND_SECONDS: Final = 5.0
"""How long a command waits for its outcome, which stands in milliseconds while loyalty runs."""
POLL_SECONDS: Final = 0.003
"""Between two looks for the outcome of a command."""
BUSY_POLL_SECONDS: Final = 0.01
"""The same while more than ``FEW`` wait: a look for many costs more, and many come in between."""
FEW: Final = 16
SOURCE: Final = "api"

_SAFE: Final = "Sending the command again with the same Idempotency-Key is safe."
_OTHER: Final = conflict(
    "The Idempotency-Key came with another command before.", slug="idempotency-key-reused"
)


class Adjust(msgspec.Struct, frozen=True, kw_only=True):
    """Adjust a member's points, signed from the member's side."""

    points: int
    reason: str | None


class Join(msgspec.Struct, frozen=True):
    """Make the customer a member."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants of a customer (an id or ``source_id``) in a program."""

    workspace: str
    program: str
    customer: str
    idempotency_key: str
    at: datetime
    act: Adjust | Join

    @property
    def request(self) -> bytes:
        """Key of its request."""
        return request_key(self.workspace, self.idempotency_key)

    def digest(self, customer: CustomerId) -> str:
        """Tell it from other commands, whichever way the customer is named."""
        path = f"{self.program}/{customer}/{type(self.act).__name__}"
        return command_digest(path, encode(self.act))


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What stands about a command before it is appended; ``clock_at`` of a test clock alone."""

    customer: CustomerId | None
    has_program: bool
    revision: int
    clock_at: datetime | None
    decided: Sequence[Decided]


_LOOK_UP: LiteralString = """
SELECT uuid_send(coalesce(
        (SELECT customer FROM upshot.customer_keys c
            WHERE c.workspace = k.workspace AND c.customer = k.id),
        (SELECT customer FROM upshot.identities i
            WHERE i.workspace = k.workspace AND i.kind = 'source_id' AND i.value = k.named))),
    (SELECT spec IS NOT NULL FROM upshot.definitions d
        WHERE d.workspace = k.workspace AND d.kind = 'loyalty_program' AND d.name = k.program
        ORDER BY revision DESC LIMIT 1),
    (SELECT revision FROM upshot.definitions d WHERE d.workspace = k.workspace AND d.relayed
        ORDER BY revision DESC LIMIT 1),
    (SELECT (spec->>'clock_at')::timestamptz FROM upshot.definitions d
        WHERE d.workspace = k.workspace AND d.kind = 'workspace' AND d.name = k.workspace
            AND d.relayed -- then every partition has it
        ORDER BY revision DESC LIMIT 1)
FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::text[]) WITH ORDINALITY
    AS k (workspace, named, id, program, number)
ORDER BY number"""


class _UnderWay:
    """A request that somebody waits for; ``waiting`` counts them."""

    __slots__ = ("digest", "outcome", "waiting")

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.outcome: asyncio.Future[Sequence[Decided]] = asyncio.Future()
        self.waiting = 0

    def fail(self, error: Exception) -> None:
        """Have everybody who waits fail with this error."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()  # most often nobody else waits for it


class Commands:
    """Carries commands out; one for the process."""

    def __init__(
        self, pool: Pool, progress: Progress, appender: Appender, *, partitions: int
    ) -> None:
        self._pool = pool
        self._progress = progress
        self._appender = appender
        self._partitions = partitions
        self._rounds = Rounds(pool.connection, self._look_up)
        self._under_way: dict[bytes, _UnderWay] = {}
        self._appended: set[bytes] = set()
        self._watching: asyncio.Task[None] | None = None

    async def carry_out(self, command: Command) -> Decided:
        """Have a command decided, or find what was decided of it before.

        Raises:
            ProblemError: 404, no such program or customer; 409, the key came with another command;
                503, the outcome is unknown.
            KafkaUnavailableError, OverloadedError, DatabaseUnavailableError: nothing was appended.
        """
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self._decided(command)
        except TimeoutError as error:
            detail = f"No outcome stood within {COMMAND_SECONDS:.0f} s. {_SAFE}"
            raise ProblemError(outcome_unknown(detail)) from error
        except OutcomeUnknownError as error:
            detail = f"The log did not acknowledge in time. {_SAFE}"
            raise ProblemError(outcome_unknown(detail)) from error

    async def stop(self) -> None:
        """Wait for no outcome any more."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def _decided(self, command: Command) -> Decided:
        known = await self._rounds.answer(command)
        if known.customer is None:
            raise missing("such customer")
        digest = command.digest(known.customer)
        if known.decided:
            return _of(known.decided, digest)
        if not known.has_program:
            raise missing(f"loyalty program {command.program}")
        if known.clock_at is not None:
            command = msgspec.structs.replace(command, at=known.clock_at)
        return _of(await self._ask(command, known.customer, known.revision, digest), digest)

    async def _ask(
        self, command: Command, customer: CustomerId, revision: int, digest: str
    ) -> Sequence[Decided]:
        """Append the request and wait for its outcome; one that is under way is waited for."""
        request = command.request
        under_way = self._under_way.get(request)
        is_first = under_way is None
        if under_way is None:
            under_way = self._under_way[request] = _UnderWay(digest)
        elif under_way.digest != digest:
            raise ProblemError(_OTHER)
        under_way.waiting += 1
        try:
            if is_first:
                value = encode(_record(command, customer, revision, digest))
                await self._append(under_way, request, Outgoing(customer.encode(), value))
            return await asyncio.shield(under_way.outcome)
        finally:
            under_way.waiting -= 1
            if not under_way.waiting:
                self._appended.discard(request)
                del self._under_way[request]

    async def _append(self, under_way: _UnderWay, request: bytes, record: Outgoing) -> None:
        """Append a request, and look for its outcome from then on."""
        try:
            await self._appender.append(partition_of(record.key, self._partitions), [record])
        except BaseException as error:
            is_ours = isinstance(error, Exception)  # else the deadline came
            under_way.fail(error if is_ours else OutcomeUnknownError(CUSTOMER_EVENTS))
            raise
        self._appended.add(request)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def _look_up(self, session: Session, commands: Sequence[Command]) -> list[_Known]:
        parameters = (
            [each.workspace for each in commands],
            [each.customer for each in commands],
            [reads_as_id(each.customer) for each in commands],
            [each.program for each in commands],
        )
        rows = await (await session.execute(_LOOK_UP, parameters)).fetchall()
        decided = await self._outcomes(session, [each.request for each in commands])
        return [
            _Known(
                customer=None if row[0] is None else binary.customer_id(row[0]),
                has_program=bool(row[1]),
                revision=row[2] or 0,
                clock_at=row[3],
                decided=decided.get(command.request, ()),
            )
            for command, row in zip(commands, rows, strict=True)
        ]

    async def _outcomes(
        self, session: Session, requests: Sequence[bytes]
    ) -> Mapping[bytes, Sequence[Decided]]:
        try:
            live = await self._progress.live(session, "loyalty")
            return await queries.decided(session, live.schema, requests)
        except (NoReadModelError, UndefinedTable):
            return {}  # nothing was ever decided

    async def _watch(self) -> None:
        """Ask for outcomes for as long as someone waits."""
        while self._appended:
            with suppress(DatabaseUnavailableError), translated():
                async with self._pool.connection() as session:
                    while self._appended:
                        found = await self._outcomes(session, list(self._appended))
                        for request, decided in found.items():
                            self._tell(request, decided)
                        many = len(self._appended) > FEW
                        await asyncio.sleep(BUSY_POLL_SECONDS if many else POLL_SECONDS)
            await asyncio.sleep(POLL_SECONDS)

    def _tell(self, request: bytes, decided: Sequence[Decided]) -> None:
        self._appended.discard(request)
        under_way = self._under_way.get(request)
        if under_way is not None and not under_way.outcome.done():
            under_way.outcome.set_result(decided)


def _of(decided: Sequence[Decided], digest: str) -> Decided:
    """What was decided of this very command; a key that came to two customers was decided twice."""
    for each in decided:
        if each.digest == digest:
            return each
    raise ProblemError(_OTHER)


def _record(command: Command, customer: CustomerId, revision: int, digest: str) -> CloudEvent:
    match command.act:
        case Adjust(points=points, reason=reason):
            kind = ADJUST_REQUESTED
            request = AdjustRequested(
                program=command.program, points=points, digest=digest, reason=reason
            )
        case Join():
            kind = JOIN_REQUESTED
            request = JoinRequested(program=command.program, digest=digest)
    record_id = spell_request_id(command.request)
    return CloudEvent(
        id=record_id,
        source=SOURCE,
        type=kind,
        subject=customer,
        time=command.at,
        workspace=command.workspace,
        recordedtime=command.at,
        definitionsrevision=revision,
        data=raw(request),
        correlationid=record_id,
    )
