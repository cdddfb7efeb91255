"""Errors as decisions: again, dead letter, or stop."""

import pytest

from projections.kernel.errors import (
    AheadOfLiveError,
    DivergedError,
    FencedError,
    HeldError,
    InvalidRecordError,
    TooManyDeadLettersError,
    UnlikeLiveError,
)
from projections.kernel.failures import (
    DEAD_LETTER_WINDOW,
    DEAD_LETTERS_MAX,
    Decision,
    decide,
    reason_of,
    remember_dead,
)
from services.runtime.kafka.errors import KafkaUnavailableError, LogGapError, OutcomeUnknownError
from services.runtime.postgres import DatabaseUnavailableError, InvalidRowError
from services.runtime.sealing import ForeignKeysError


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (DatabaseUnavailableError("deadlock detected"), Decision.RETRY),
        (KafkaUnavailableError("no broker"), Decision.RETRY),
        (OutcomeUnknownError("loyalty.entries"), Decision.RETRY),
        (ConnectionResetError(), Decision.RETRY),
        (TimeoutError(), Decision.RETRY),
        (HeldError(), Decision.WAIT),
        (AheadOfLiveError(), Decision.WAIT),
        (FencedError(), Decision.RECLAIM),
        (DivergedError("another log"), Decision.STOP),
        (LogGapError("shorter"), Decision.STOP),
        (ForeignKeysError(), Decision.STOP),
        (UnlikeLiveError("it was applied"), Decision.STOP),
        (TooManyDeadLettersError(100, 10_000), Decision.STOP),
        (InvalidRecordError("not a CloudEvent", ""), Decision.BISECT),
        (InvalidRowError("bigint out of range"), Decision.BISECT),
        (KeyError("unforeseen"), Decision.BISECT),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else each.value,
)
def test_an_error_carries_its_decision(error: Exception, decision: Decision) -> None:
    assert decide(error) is decision


def test_a_reason_has_one_short_line() -> None:
    reason, detail = reason_of(ValueError("first line\nsecond line" + "x" * 1_000))

    assert (reason, detail) == ("ValueError", "first line")


def test_dead_letters_are_counted_over_the_last_records_only() -> None:
    dead: tuple[int, ...] = ()
    for number in range(3 * DEAD_LETTERS_MAX):
        dead = remember_dead(dead, number * DEAD_LETTER_WINDOW // 50)

    assert len(dead) <= 51


def test_one_dead_letter_too_many_stops() -> None:
    dead = tuple(range(DEAD_LETTERS_MAX - 1))

    with pytest.raises(TooManyDeadLettersError):
        remember_dead(dead, DEAD_LETTERS_MAX)
