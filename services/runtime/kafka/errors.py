"""What can go wrong with Kafka, as the decision it leads to."""


class KafkaUnavailableError(Exception):
    """Kafka did not answer in time and nothing was appended: try again."""


class OutcomeUnknownError(Exception):
    """Kafka did not acknowledge in time: the record may or may not stand in the log."""


class RecordTooLargeError(Exception):
    """The record is larger than the topic takes."""


class TopicMismatchError(Exception):
    """A topic exists with other settings than the design asks for; nothing was changed.

    Fix the topic's settings, or point UPSHOT_KAFKA at another cluster.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class LogGapError(Exception):
    """The log no longer has the offset that was asked for: it is shorter than it was."""
