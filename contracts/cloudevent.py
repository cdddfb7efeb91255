"""The form of every record's value: CloudEvents 1.0 in structured JSON.

Guarantee: a record is readable by itself and by any CloudEvents SDK. Extension attributes follow
the specification's rule for names (lower-case letters and digits).
"""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record's value; ``data`` stays as bytes until the type says how to read it.

    ``time`` is when it occurred, ``recordedtime`` when the process that appended it accepted it.
    ``subject`` is the customer id where there is one. ``sequence`` stands on records that an outbox
    relayed: it grows with each record of one ``source``, and a consumer passes over what is not
    greater than the last one it applied, since a relayed record may stand in the log twice.
    ``redriveof`` and ``redrivefor`` stand on what ends a dead letter (``contracts.redrives``).
    """

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    workspace: str
    recordedtime: datetime
    definitionsrevision: int
    data: msgspec.Raw
    specversion: Literal["1.0"] = "1.0"
    causationid: str | UnsetType = UNSET
    correlationid: str | UnsetType = UNSET
    chaindepth: int | UnsetType = UNSET
    traceparent: str | UnsetType = UNSET
    sequence: str | UnsetType = UNSET
    redriveof: str | UnsetType = UNSET
    redrivefor: str | UnsetType = UNSET


SEQUENCE_DIGITS = 20
"""Width of a sequence, so that it orders as text too (the CloudEvents sequence extension)."""


SOURCE_HEADER = "source"
SEQUENCE_HEADER = "sequence"
"""Kafka headers of a relayed record that is no CloudEvent: what ``source`` and ``sequence`` are in
one."""


def spell_sequence(number: int) -> str:
    """Write a sequence number as the fixed-width text that stands in a record."""
    return str(number).rjust(SEQUENCE_DIGITS, "0")
