"""What goes wrong in the api, as the problem it is answered with: one table.

Guarantee: bad input ends in a status below 500; what a server of ours could not do in time is 503
with Retry-After; anything else is a fault of ours and logged with its trace.
"""

from psycopg.errors import UndefinedTable

from contracts.errors import RefusedError, RevisionAheadError
from services.api.progress import NoReadModelError
from services.runtime.kafka.errors import (
    KafkaUnavailableError,
    OutcomeUnknownError,
    OverloadedError,
)
from services.runtime.logging import logger
from services.runtime.postgres import DatabaseUnavailableError, InvalidRowError
from services.runtime.problems import (
    Problem,
    ProblemError,
    malformed,
    outcome_unknown,
    rate_limited,
    refused,
    unavailable,
)

_log = logger(__name__)


def problem_of(error: Exception) -> Problem:  # noqa: PLR0911 - a table
    """The problem that answers a request which ended in this error."""
    match error:
        case ProblemError():
            return error.problem
        case RefusedError():
            return refused(error, slug="malformed", title="The request is malformed")
        case InvalidRowError():
            return malformed("A value has a form that is not taken here.")
        case OverloadedError():
            return rate_limited(str(error))
        case NoReadModelError():
            return unavailable(f"The projection {error} has no read model yet.")
        case UndefinedTable():
            return unavailable("The read model is not there yet.")
        case DatabaseUnavailableError() | KafkaUnavailableError() | RevisionAheadError():
            return unavailable("A store does not answer; a change may or may not have been made.")
        case OutcomeUnknownError():
            return outcome_unknown()
        case _:
            _log.error("A request failed by a fault of ours.", exc_info=error)
            return Problem(
                slug="internal",
                title="A fault of ours",
                status=500,
                detail="The request could not be answered. It is logged under its request id.",
            )
