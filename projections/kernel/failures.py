"""Errors as decisions: again, dead letter, or stop. This module makes the decision, once.

Guarantee: connection, timeout, deadlock and resource errors are retried without limit; what is
wrong with one record becomes a dead letter; what makes the whole read model doubtful stops it.
"""

from enum import Enum

from projections.kernel.errors import (
    CHAIN_TOO_DEEP,
    AheadOfLiveError,
    AwaitedError,
    DivergedError,
    FencedError,
    HeldError,
    InvalidRecordError,
    MembershipError,
    SwappedError,
    TooManyDeadLettersError,
    UnlikeLiveError,
)
from services.runtime.kafka.errors import (
    KafkaUnavailableError,
    LogGapError,
    OutcomeUnknownError,
)
from services.runtime.postgres import DatabaseUnavailableError
from services.runtime.sealing import ForeignKeysError

DEAD_LETTERS_MAX = 100
"""This many within the window stop the processor: then it is not the record that is wrong."""
DEAD_LETTER_WINDOW = 10_000
"""Records looked back on: a hundred of them is one percent, and covers a hundred in a row."""


class Decision(Enum):
    """What to do about a failed batch."""

    RETRY = "retry"
    BISECT = "bisect"
    RECLAIM = "reclaim"
    WAIT = "wait"
    STOP = "stop"


def decide(error: Exception) -> Decision:
    """Decide about an error raised while a batch was applied.

    Anything unforeseen counts as the record's fault: bisection finds the record, and if it was not
    the record's fault the limit on dead letters stops the processor.
    """
    match error:
        case DatabaseUnavailableError() | KafkaUnavailableError() | OutcomeUnknownError():
            return Decision.RETRY
        case OSError() | TimeoutError():
            return Decision.RETRY
        case FencedError():
            return Decision.RECLAIM
        case HeldError() | SwappedError() | AheadOfLiveError() | AwaitedError():
            return Decision.WAIT
        case (
            DivergedError()
            | LogGapError()
            | MembershipError()
            | ForeignKeysError()
            | TooManyDeadLettersError()
            | UnlikeLiveError()
        ):
            return Decision.STOP
        case _:
            return Decision.BISECT


def reason_of(error: Exception) -> tuple[str, str]:
    """Name the kind of failure and a detail without personal data, for the dead letter."""
    if isinstance(error, InvalidRecordError):
        return error.reason, error.detail
    return type(error).__name__, _first_line(error)


def _first_line(error: Exception) -> str:
    text = str(error)
    return text.splitlines()[0][:200] if text else ""


def speaks_of_the_processor(error: Exception) -> bool:
    """Whether many such dead letters stop it; those of rules that set each other off do not."""
    return not (isinstance(error, InvalidRecordError) and error.reason == CHAIN_TOO_DEEP)


def remember_dead(dead: tuple[int, ...], offset: int) -> tuple[int, ...]:
    """Add a dead letter's offset to those of the window.

    Raises:
        TooManyDeadLettersError: it would be one too many.
    """
    window = (*(each for each in dead if each > offset - DEAD_LETTER_WINDOW), offset)
    if len(window) >= DEAD_LETTERS_MAX:
        raise TooManyDeadLettersError(len(window), DEAD_LETTER_WINDOW)
    return window
