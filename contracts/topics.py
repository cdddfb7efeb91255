"""The topics of the log, and the settings each must have.

Guarantee: this table is the only place that names a topic; processes refuse to start on a topic
whose settings differ from it.
"""

import msgspec

CUSTOMER_EVENTS = "customer.events"
DEFINITIONS = "definitions"
SEGMENT_MEMBERSHIPS = "segment.memberships"
LOYALTY_ENTRIES = "loyalty.entries"
WEBHOOKS = "webhooks"
OPERATIONS = "operations"
DEAD_LETTERS = "dead-letters"

FOR_EVER_MS = -1
"""Retention of what is the truth."""
WEBHOOK_RETENTION_MS = 30 * 24 * 3600 * 1000
"""Retention of messages for downstream consumers: they can be derived again from the log."""
RECORD_MAX_BYTES = 2 * 1024 * 1024
"""Largest record: a 64 KiB event with room for its copy inside a dead letter or a message."""
OUTPUT_MAX_BYTES = RECORD_MAX_BYTES - 128 * 1024
"""Of an output's value: a record less room for its key, headers and the batch's own header."""
SINGLE_PARTITION = 1


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic; ``partitions`` None: as many as the installation has (``UPSHOT_PARTITIONS``)."""

    name: str
    key: str
    retention_ms: int
    partitions: int | None = None

    def settings(self) -> dict[str, str]:
        """Topic settings by Kafka's names; time is the broker's, so no client can backdate."""
        return {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(RECORD_MAX_BYTES),
        }


TOPICS: tuple[Topic, ...] = (
    Topic(name=CUSTOMER_EVENTS, key="customer id", retention_ms=FOR_EVER_MS),
    Topic(name=DEFINITIONS, key="kind/name", retention_ms=FOR_EVER_MS, partitions=SINGLE_PARTITION),
    Topic(name=SEGMENT_MEMBERSHIPS, key="customer id", retention_ms=FOR_EVER_MS),
    Topic(name=LOYALTY_ENTRIES, key="customer id", retention_ms=FOR_EVER_MS),
    Topic(name=WEBHOOKS, key="customer id", retention_ms=WEBHOOK_RETENTION_MS),
    Topic(name=OPERATIONS, key="projection", retention_ms=FOR_EVER_MS, partitions=SINGLE_PARTITION),
    Topic(name=DEAD_LETTERS, key="of the failed record", retention_ms=FOR_EVER_MS),
)
