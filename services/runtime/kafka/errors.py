"""What can go wrong with Kafka, as the decision it leads to."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class KafkaUnavailableError(Exception):
    """Kafka did not answer in time and nothing was appended: try again."""


class OutcomeUnknownError(Exception):
    """Kafka did not acknowledge in time: the record may or may not stand in the log."""


class RecordTooLargeError(Exception):
    """The record is larger than the topic takes."""


class OverloadedError(Exception):
    """More waits to be appended than this process may hold: try again a little later."""


class TopicMismatchError(Exception):
    """A topic exists with other settings than the design asks for; nothing was changed.

    Fix the topic's settings, or point UPSHOT_KAFKA at another cluster.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class LogGapError(Exception):
    """The log no longer has the offset that was asked for: it is shorter than it was."""


@contextmanager
def not_cancelled() -> Generator[None]:
    """Turn a cancellation that nobody asked of this task into an outage.

    With a broken connection aiokafka cancels futures that are being waited for. A task that let
    such a cancellation through would end as if its end had been wished, and nobody would hear.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise KafkaUnavailableError("the client gave the request up") from error
