"""What can go wrong in the gateway, and the one table from there to answers."""

import traceback
from http import HTTPStatus

from contracts.errors import Fault, RefusedError, refuse
from services.runtime import problems
from services.runtime.kafka.errors import (
    KafkaUnavailableError,
    OutcomeUnknownError,
    OverloadedError,
    RecordTooLargeError,
)
from services.runtime.logging import logger
from services.runtime.postgres import DatabaseUnavailableError
from services.runtime.problems import Problem, ProblemError

INVALID_EVENT = "event-invalid"
INVALID_METADATA = "metadata-invalid"
UNKNOWN_EVENT_TYPE = "event-type-unknown"
UNKNOWN_CUSTOMER = "customer-unknown"
INVALID_CUSTOMER = "customer-invalid"
INVALID_BATCH = "batch-invalid"
INVALID_REQUEST = "request-invalid"
_log = logger(__name__)
_TITLES = {
    INVALID_EVENT: "The event is refused",
    INVALID_METADATA: "The metadata does not fit its event type",
    UNKNOWN_EVENT_TYPE: "The event type is not defined",
    INVALID_CUSTOMER: "The customer is refused",
    INVALID_BATCH: "The batch is refused",
    INVALID_REQUEST: "The request is refused",
}


class RefusedEventError(RefusedError):
    """One event is refused; ``slug`` says in which way."""

    def __init__(self, slug: str, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.slug: str = slug

    def keep_first(self, count: int) -> None:
        """Name only so many of the faults, and the first in any case."""
        self.faults = self.faults[: max(1, count)]


class UnknownCustomerError(RefusedEventError):
    """An event names a customer by an id that does not exist."""

    def __init__(self, pointer: str) -> None:
        detail = "names no customer of this workspace"
        super().__init__(UNKNOWN_CUSTOMER, refuse(pointer, "unknown", detail).faults)


def problem_of(error: Exception) -> Problem | None:
    """The problem that an error means to the client; None for an error of our own."""
    match error:
        case ProblemError():
            return error.problem
        case RefusedEventError():
            return _refusal(error)
        case OverloadedError():
            return problems.rate_limited(str(error))
        case _:
            return _failure(error)


def _refusal(error: RefusedEventError) -> Problem:
    if error.slug == UNKNOWN_CUSTOMER:
        first = error.faults[0]
        sentence = f"{first.pointer} {first.detail}"
        return problems.not_found(sentence, slug=error.slug, errors=error.faults)
    return problems.refused(error, slug=error.slug, title=_TITLES[error.slug])


def _failure(error: Exception) -> Problem | None:
    match error:
        case KafkaUnavailableError():
            return problems.unavailable("The log cannot be reached. Nothing was appended.")
        case OutcomeUnknownError():
            return problems.outcome_unknown()
        case RecordTooLargeError():
            return problems.malformed("The event is larger than a record may be.", slug="too-large")
        case DatabaseUnavailableError():
            return problems.unavailable("The database cannot be reached. Nothing was appended.")
        case _:
            return None


INTERNAL = Problem(
    slug="internal-error",
    title="An error of ours",
    status=HTTPStatus.INTERNAL_SERVER_ERROR,
    detail="The request failed for a reason that is not its own.",
)


def log_failure(error: Exception, request_id: str) -> None:
    """Log an error of our own: its type and place, never its words, which quote what was sent."""
    frames = traceback.extract_tb(error.__traceback__)
    _log.error(
        "A request failed",
        request_id=request_id,
        error=type(error).__name__,
        frames=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    )
