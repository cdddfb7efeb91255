"""The AsyncAPI 3 document: the topics, and what stands on each.

Guarantee: made from the topics' table and the structs that encode the records.
"""

from typing import Final

import msgspec

from contracts.administration import (
    DEFINITION_CHANGED,
    OPERATION_ENDED,
    OPERATION_REQUESTED,
    DefinitionChanged,
    OperationEnded,
    OperationRequested,
)
from contracts.clocks import CLOCK_ADVANCED, CLOCK_TICKED, ClockAdvanced, ClockTicked
from contracts.cloudevent import SEQUENCE_DIGITS, SEQUENCE_HEADER, SOURCE_HEADER, CloudEvent
from contracts.codec import JsonObject
from contracts.effects import LOYALTY_ENTRY, LoyaltyEntry
from contracts.events import (
    CUSTOM_EVENT,
    EVENT_WITHDRAWN,
    PROFILE_CHANGED,
    CustomEvent,
    EventWithdrawn,
    ProfileChanged,
)
from contracts.memberships import MEMBERSHIP_CHANGED, MembershipChanged
from contracts.merges import CUSTOMER_MERGED, CustomerMerged
from contracts.redrives import DEAD_LETTER_DISCARDED, DeadLetterDiscarded
from contracts.requests import (
    ADJUST_REQUESTED,
    JOIN_REQUESTED,
    AdjustRequested,
    JoinRequested,
)
from contracts.topics import (
    CUSTOMER_EVENTS,
    DEAD_LETTERS,
    DEFINITIONS,
    LOYALTY_ENTRIES,
    OPERATIONS,
    SEGMENT_MEMBERSHIPS,
    TOPICS,
    WEBHOOKS,
    Topic,
)
from contracts.webhooks import WebhookMessage
from projections.kernel.dead_letters import DEAD_LETTER, DeadLetterData
from services.api.described import struct_schemas
from services.api.openapi import API_VERSION, TITLE

SEQUENCE_RULE: Final = (
    "Records that a projection relays bear `source` and `sequence`, those of `webhooks` as Kafka "
    "headers. A record may stand twice in a "
    "topic, after a relay was killed between an append and its note. So every consumer keeps the "
    "last `sequence` of each `source` with its own results and passes over a record whose "
    "sequence is not greater (compare as text: it has a fixed width). A record without `sequence` "
    "is known by its `id`."
)
REDRIVE_RULE: Final = (
    "A record with `redrivefor` stands for a second time: the projection named there could not "
    "apply it at `redriveof`, and applies it here. All others applied it there, and pass over it."
)
DESCRIPTION: Final = (
    "What stands in the log. Every value is a CloudEvent 1.0 in structured JSON, never null; the "
    "key is the customer id where the topic has customers, and its partition that of the Java "
    f"client's murmur2. {SEQUENCE_RULE} {REDRIVE_RULE}"
)
CLOUD_EVENT_MEDIA: Final = "application/cloudevents+json"
JSON_MEDIA: Final = "application/json"

RECORDS: Final[tuple[tuple[str, str, type[msgspec.Struct]], ...]] = (
    (CUSTOMER_EVENTS, CUSTOM_EVENT, CustomEvent),
    (CUSTOMER_EVENTS, PROFILE_CHANGED, ProfileChanged),
    (CUSTOMER_EVENTS, EVENT_WITHDRAWN, EventWithdrawn),
    (CUSTOMER_EVENTS, CUSTOMER_MERGED, CustomerMerged),
    (CUSTOMER_EVENTS, ADJUST_REQUESTED, AdjustRequested),
    (CUSTOMER_EVENTS, JOIN_REQUESTED, JoinRequested),
    (CUSTOMER_EVENTS, CLOCK_TICKED, ClockTicked),
    (CUSTOMER_EVENTS, CLOCK_ADVANCED, ClockAdvanced),
    (CUSTOMER_EVENTS, DEAD_LETTER_DISCARDED, DeadLetterDiscarded),
    (DEFINITIONS, DEFINITION_CHANGED, DefinitionChanged),
    (SEGMENT_MEMBERSHIPS, MEMBERSHIP_CHANGED, MembershipChanged),
    (LOYALTY_ENTRIES, LOYALTY_ENTRY, LoyaltyEntry),
    (OPERATIONS, OPERATION_REQUESTED, OperationRequested),
    (OPERATIONS, OPERATION_ENDED, OperationEnded),
    (DEAD_LETTERS, DEAD_LETTER, DeadLetterData),
)
"""Topic, record type, and the struct of its ``data``."""
WEBHOOK_MESSAGE: Final = "webhook.message"


def record_schema(kind: type[msgspec.Struct], record_type: str) -> JsonObject:
    """JSON Schema of a whole record: the envelope with its type and ``data``."""
    (_, _), components = struct_schemas([CloudEvent, kind], "#/$defs/{name}")
    envelope = components.pop(CloudEvent.__name__)
    properties = envelope["properties"]
    assert isinstance(properties, dict), "a struct's schema has properties"
    properties["type"] = {"const": record_type}
    properties["data"] = {"$ref": f"#/$defs/{kind.__name__}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **envelope,
        "title": record_type,
        "$defs": dict(sorted(components.items())),
    }


def message_schema() -> JsonObject:
    """JSON Schema of what stands on ``webhooks``, which are the bytes of the HTTP body too."""
    _, components = struct_schemas([WebhookMessage], "#/$defs/{name}")
    message = components.pop(WebhookMessage.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **message,
        "$defs": dict(sorted(components.items())),
    }


def asyncapi_document() -> JsonObject:
    """Describe every topic with the messages on it."""
    messages: JsonObject = {
        record_type: {
            "name": record_type,
            "title": (kind.__doc__ or "").partition("\n")[0],
            "contentType": CLOUD_EVENT_MEDIA,
            "payload": record_schema(kind, record_type),
        }
        for _, record_type, kind in RECORDS
    }
    messages[WEBHOOK_MESSAGE] = {
        "name": WEBHOOK_MESSAGE,
        "title": "A message that a distribution sends; the same bytes as the HTTP body.",
        "contentType": JSON_MEDIA,
        "payload": message_schema(),
        "headers": {
            "type": "object",
            "required": [SOURCE_HEADER, SEQUENCE_HEADER],
            "properties": {
                SOURCE_HEADER: {"type": "string"},
                SEQUENCE_HEADER: {"type": "string", "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$"},
            },
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"{TITLE}: the log", "version": API_VERSION, "description": DESCRIPTION},
        "defaultContentType": CLOUD_EVENT_MEDIA,
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {
            f"read {topic.name}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "description": SEQUENCE_RULE,
            }
            for topic in TOPICS
        },
        "components": {"messages": messages},
    }


def _channel(topic: Topic) -> JsonObject:
    types = [record_type for name, record_type, _ in RECORDS if name == topic.name]
    if topic.name == WEBHOOKS:
        types.append(WEBHOOK_MESSAGE)
    binding: JsonObject = {
        "bindingVersion": "0.5.0",
        "topic": topic.name,
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "retention.ms": topic.retention_ms,
        },
    }
    if topic.partitions is not None:
        binding["partitions"] = topic.partitions
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}. Timestamps are the broker's append time.",
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in types},
        "bindings": {"kafka": binding},
    }
