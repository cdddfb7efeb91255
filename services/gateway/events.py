"""``POST /v1/events``, ``POST /v1/events/batch`` and ``POST /v1/customers``."""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from contracts.definitions.catalogue import Snapshot
from contracts.identifiers import WorkspaceName
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from services.gateway.answers import (
    AcceptedAnswer,
    BatchAnswer,
    RefusedAnswer,
    accepted_answer,
    customer_answer,
    dry_answer,
    encode,
    event_answer,
)
from services.gateway.batches import JSON, take_apart
from services.gateway.bodies import Body
from services.gateway.bounds import (
    BATCH_BYTES_MAX,
    DEFINITIONS_AGE_SECONDS_MAX,
    EVENT_BYTES_MAX,
    REVISION_WAIT_SECONDS,
)
from services.gateway.errors import INTERNAL, UnknownCustomerError, log_failure, problem_of
from services.gateway.handling import Call
from services.gateway.identity import Customers
from services.gateway.intake import Accepted, Intake, Outcome
from services.gateway.options import Options, content_type_of, read_options
from services.gateway.pacing import Pace
from services.gateway.people import cleared_identifiers, know, preview, read_person
from services.gateway.records import Stamp, profile_record
from services.gateway.replies import Reply
from services.gateway.staleness import Staleness
from services.runtime import metrics, problems
from services.runtime.clock import Clock
from services.runtime.definitions import DefinitionsFollower
from services.runtime.kafka.appender import Appender
from services.runtime.kafka.producer import Outgoing
from services.runtime.problems import ProblemError

POSITION_HEADER: Final = b"upshot-position"

_EVENT_OPTIONS: Final = frozenset({"dry_run", "historical"})
_BATCH_OPTIONS: Final = frozenset({"results", "historical"})
_NO_OPTIONS: Final[frozenset[str]] = frozenset()


class Events:
    """The handlers, over what they share."""

    def __init__(
        self,
        *,
        intake: Intake,
        customers: Customers,
        appender: Appender,
        definitions: DefinitionsFollower,
        staleness: Staleness,
        clock: Clock,
    ) -> None:
        self._intake: Final = intake
        self._customers: Final = customers
        self._appender: Final = appender
        self._definitions: Final = definitions
        self._staleness: Final = staleness
        self._clock: Final = clock

    async def one(self, call: Call) -> Reply:
        """``POST /v1/events``."""
        options = read_options(call.query, call.headers, _EVENT_OPTIONS)
        with Body(call.receive, call.headers, call.bodies) as body:
            _must_be_json(call)
            text = await body.read(EVENT_BYTES_MAX)
        definitions, stamp = await self._judged_by(call, options)
        if options.dry_run:
            return await self._dry_run(text, definitions, stamp, options)
        try:
            accepted = await self._intake.take_one(
                text, definitions, stamp, options.idempotency_key
            )
        except Exception as error:
            _count_refused(error)
            raise
        metrics.EVENTS_ACCEPTED.inc()
        return Reply(
            body=event_answer(accepted, stamp),
            headers=((POSITION_HEADER, accepted.position.encode()),),
        )

    async def batch(self, call: Call) -> Reply:
        """``POST /v1/events/batch``; refused while commands would wait for what it brings."""
        self._staleness.check()
        options = read_options(call.query, call.headers, _BATCH_OPTIONS)
        if options.idempotency_key is not None:
            raise ProblemError(problems.malformed("Idempotency-Key names one event, not a batch."))
        with Body(call.receive, call.headers, call.bodies) as body:
            media = content_type_of(call.headers)
            content = await body.read(BATCH_BYTES_MAX)
            pace = Pace()
            batch = await take_apart(content, media, pace)
            definitions, stamp = await self._judged_by(call, options, historical=batch.historical)
            pace.resume()
            outcomes = await self._intake.take(batch, definitions, stamp, pace)
        return await _batch_reply(outcomes, call.request_id, options)

    async def customer(self, call: Call) -> Reply:
        """``POST /v1/customers``."""
        options = read_options(call.query, call.headers, _NO_OPTIONS)
        with Body(call.receive, call.headers, call.bodies) as body:
            _must_be_json(call)
            text = await body.read(EVENT_BYTES_MAX)
        definitions, stamp = await self._judged_by(call, options)
        personal_keys = definitions.workspace_settings.customer_pii
        person = read_person(text, personal_keys, pointer="", clearing=True)
        workspace = stamp.workspace
        resolution = self._customers.known(workspace, person.claim)
        if resolution is None:
            (resolution,) = await self._customers.resolve(workspace, [person.claim])
        if resolution.identity is None:
            raise UnknownCustomerError("/id")
        identity = resolution.identity
        known = know(
            person,
            identity,
            resolution.foreign,
            personal_keys=personal_keys,
            pointer="/",
            clearing=True,
        )
        position: str | None = None
        if known.profile is not None:
            record = Outgoing(identity.key, profile_record(known.profile, identity, stamp))
            offsets = await self._appender.append(identity.partition, [record])
            position = str(Position(CUSTOMER_EVENTS, identity.partition, offsets[0]))
            cleared = cleared_identifiers(known.profile)
            if cleared:
                await self._customers.release(workspace, identity, cleared)
                self._intake.forget()
        headers = () if position is None else ((POSITION_HEADER, position.encode()),)
        return Reply(body=customer_answer(known, position), headers=headers)

    async def _judged_by(
        self, call: Call, options: Options, *, historical: bool = False
    ) -> tuple[Snapshot, Stamp]:
        """The definitions that a request is judged by, and the stamp of its records.

        On a test clock it is accepted at what these definitions say that the clock shows.
        """
        workspace = WorkspaceName(call.workspace)
        if options.revision:
            await self._wait_for_revision(workspace, options.revision)
        if self._definitions.age_seconds() > DEFINITIONS_AGE_SECONDS_MAX:
            raise ProblemError(problems.unavailable("The definitions known here are too old."))
        definitions = self._definitions.catalogue.latest(workspace)
        stamp = Stamp(
            workspace=workspace,
            revision=definitions.revision,
            accepted_at=definitions.workspace_settings.clock_at or self._clock.now(),
            historical=historical or options.historical,
        )
        return definitions, stamp

    async def _wait_for_revision(self, workspace: WorkspaceName, revision: int) -> None:
        """Wait until a revision is known; a 409 where the whole log was read and it is not there.

        Raises:
            ProblemError: 409, or 503 where the end of the log was not seen lately.
        """
        try:
            async with asyncio.timeout(REVISION_WAIT_SECONDS):
                await self._definitions.wait_for(workspace, revision)
        except TimeoutError as error:
            newest = self._definitions.catalogue.latest_revision(workspace)
            detail = (
                f"Revision {revision} of the definitions is not known; the newest is {newest}."
                " Nothing was appended."
            )
            if self._definitions.age_seconds() > REVISION_WAIT_SECONDS:
                raise ProblemError(
                    problems.unavailable(detail, slug="definitions-behind")
                ) from error
            raise ProblemError(problems.conflict(detail, slug="revision-unknown")) from error

    async def _dry_run(
        self, text: bytes, definitions: Snapshot, stamp: Stamp, options: Options
    ) -> Reply:
        """Judge an event and look its customer up, appending and registering nothing."""
        admitted, person = self._intake.judge(text, definitions, stamp, options.idempotency_key)
        resolution = await self._customers.look_up(stamp.workspace, person.claim)
        if resolution.identity is None and person.claim.customer is not None:
            raise UnknownCustomerError("/customer/id")
        event = None
        if admitted.body.external_id or admitted.body.id:
            event = stamp.event_id(admitted)
        customer, warnings = preview(person, resolution)
        return Reply(body=dry_answer(admitted, event, customer, stamp, warnings))


def _must_be_json(call: Call) -> None:
    if content_type_of(call.headers) not in JSON:
        raise ProblemError(problems.unsupported_media("Take application/json."))


async def _batch_reply(outcomes: Sequence[Outcome], request_id: str, options: Options) -> Reply:
    """Answer a batch; where nothing was accepted because a server is away, that is the answer."""
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    accepted_count = len(outcomes) - len(refused)
    metrics.EVENTS_ACCEPTED.inc(accepted_count)
    for error in refused:
        _count_refused(error)
    if not accepted_count and all(_is_outage(error) for error in refused):
        raise refused[0]
    results: list[AcceptedAnswer | RefusedAnswer] = []
    last: dict[int, int] = {}
    pace = Pace()
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Accepted):
            last[outcome.partition] = outcome.offset
            if not options.refused_only:
                results.append(accepted_answer(index, outcome))
        else:
            results.append(_refused_answer(index, outcome, request_id))
            if pace.is_due():
                await pace.turn()
    answer = BatchAnswer(accepted=accepted_count, refused=len(refused), results=results)
    positions = ", ".join(
        str(Position(CUSTOMER_EVENTS, partition, offset))
        for partition, offset in sorted(last.items())
    )
    headers = ((POSITION_HEADER, positions.encode()),) if positions else ()
    return Reply(body=encode(answer), headers=headers)


def _refused_answer(index: int, error: Exception, request_id: str) -> RefusedAnswer:
    """Spell one refusal; what goes wrong is said of this event, the others may stand in the log."""
    try:
        problem = problem_of(error)
        if problem is None:
            log_failure(error, request_id)
            problem = INTERNAL
        spelled = problems.encode(problem, request_id)
    except Exception as failure:  # noqa: BLE001 - the answer says of each event what became of it
        log_failure(failure, request_id)
        spelled = problems.encode(INTERNAL, request_id)
    return RefusedAnswer(index=index, problem=Raw(spelled))


def _is_outage(error: Exception) -> bool:
    problem = problem_of(error)
    return problem is None or problem.retry_after_seconds is not None


def _count_refused(error: Exception) -> None:
    problem = problem_of(error)
    metrics.EVENTS_REFUSED.labels("internal-error" if problem is None else problem.slug).inc()
