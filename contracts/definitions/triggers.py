"""What sets a rule off: so far, a custom event by its name."""

from typing import Annotated

from pydantic import Field

from contracts.definitions.fields import Document, Unsupported
from contracts.definitions.names import EVENT_NAME_PATTERN

EventName = Annotated[str, Field(pattern=EVENT_NAME_PATTERN)]


class TriggerDocument(Document):
    """``{event: name}``."""

    event: EventName
    segment_entered: Unsupported = None
    segment_left: Unsupported = None
    goal: Unsupported = None
    internal: Unsupported = None
