"""``distribution``: which events send a message, and where to.

A distribution without an endpoint still writes its messages to the topic ``webhooks``. An event
older than ``max_event_age`` (a fixed length, 3 days where absent) sends nothing.
"""

from datetime import timedelta
from typing import Annotated, Final, Literal

from msgspec import Struct
from pydantic import Field
from pydantic.functional_validators import BeforeValidator
from pydantic_core import PydanticCustomError

from contracts.conditions import ALWAYS, Condition, Context, Predicate, compile_condition, parse
from contracts.definitions.fields import (
    DefinitionName,
    Document,
    FixedDuration,
    Unsupported,
    read_document,
)
from contracts.definitions.triggers import TriggerDocument
from contracts.errors import UNSUPPORTED, pointer_to

EVENT_AGE_DEFAULT: Final = timedelta(days=3)

_LATER_PURPOSES: Final = frozenset({"promotion", "unique_codes"})


def _purpose(value: object) -> object:
    if isinstance(value, str) and value in _LATER_PURPOSES:
        raise PydanticCustomError(UNSUPPORTED, "is not supported yet")
    return value


class DistributionDocument(Document):
    """The document as ``PUT /v1/definitions/distribution/{name}`` takes it."""

    on: TriggerDocument
    condition: object = Field(default=None, alias="if")
    purpose: Annotated[Literal["message"], BeforeValidator(_purpose)] = "message"
    endpoint: DefinitionName | None = None
    active: bool = True
    max_event_age: FixedDuration = EVENT_AGE_DEFAULT
    campaign: Unsupported = None
    promotion: Unsupported = None
    promotion_tier: Unsupported = None
    limits: Unsupported = None


class Distribution(Struct, frozen=True, kw_only=True):
    """A distribution as the dispatcher uses it."""

    name: str
    event: str
    condition: Condition | None
    holds: Predicate
    purpose: Literal["message"]
    endpoint: str | None
    active: bool
    max_event_age: timedelta


def parse_distribution(name: str, spec: object, pointer: str = "") -> Distribution:
    """Read a distribution.

    Raises:
        RefusedError: with every fault.
    """
    document = read_document(DistributionDocument, spec, pointer)
    condition = None
    if document.condition is not None:
        condition = parse(document.condition, pointer_to(pointer, "if"), Context(has_event=True))
    return Distribution(
        name=name,
        event=document.on.event,
        condition=condition,
        holds=ALWAYS if condition is None else compile_condition(condition),
        purpose=document.purpose,
        endpoint=document.endpoint,
        active=document.active,
        max_event_age=document.max_event_age,
    )
