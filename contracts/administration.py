"""What stands on the topics ``definitions`` and ``operations``.

Guarantee: as for ``contracts.events``, these structs decode every record ever written.
"""

from typing import Literal

import msgspec

DEFINITION_CHANGED = "definition.changed"
OPERATION_REQUESTED = "operation.requested"
OPERATION_ENDED = "operation.ended"

OperationVerb = Literal[
    "rebuild", "compare", "promote", "rollback", "drop", "verify", "redrive", "discard"
]


class DefinitionChanged(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of one definition; the record's ``definitionsrevision`` is its number.

    ``spec`` is the document without write-only values (their digests stand instead), JSON null
    where the definition was deleted.
    """

    kind: str
    name: str
    spec: msgspec.Raw


class OperationRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An operator's request to a projection; ``operation`` is the id that the outcome names.

    ``letters`` are the ids of the dead letters to redrive or discard. ``emit_difference`` lets a
    promote or rollback put out what differs rather than refuse.
    """

    operation: str
    projection: str
    verb: OperationVerb
    requested_by: str
    generation: int | None = None
    letters: tuple[str, ...] = ()
    emit_difference: bool = False


class OperationEnded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request. ``report`` is the verb's own answer."""

    operation: str
    projection: str
    verb: OperationVerb
    state: Literal["succeeded", "failed"]
    report: msgspec.Raw
