"""Declarative documents: what a workspace says should happen.

Each kind has its module: a pydantic document (the syntax) and a frozen value with everything that
processes need compiled in. ``parse_definition`` reads one by itself; ``checks`` looks at what it
says about others.
"""

from collections.abc import Callable, Mapping
from typing import Final

from contracts.definitions.distributions import (
    Distribution,
    DistributionDocument,
    parse_distribution,
)
from contracts.definitions.endpoints import Endpoint, EndpointDocument, parse_endpoint
from contracts.definitions.event_types import EventType, EventTypeDocument, parse_event_type
from contracts.definitions.fields import Document
from contracts.definitions.loyalty_programs import (
    LoyaltyProgram,
    LoyaltyProgramDocument,
    parse_loyalty_program,
)
from contracts.definitions.names import Kind, check_name
from contracts.definitions.workspaces import WorkspaceDocument, WorkspaceSettings, parse_workspace
from contracts.errors import RefusedError, pointer_to, refuse

Definition = WorkspaceSettings | EventType | LoyaltyProgram | Distribution | Endpoint

KINDS: Final[Mapping[str, type[Document]]] = {
    "workspace": WorkspaceDocument,
    "event_type": EventTypeDocument,
    "loyalty_program": LoyaltyProgramDocument,
    "distribution": DistributionDocument,
    "endpoint": EndpointDocument,
}
"""The kinds, in the order in which they must be applied: what is referred to comes first."""

LATER_KINDS: Final = frozenset(
    {"segment", "referral_program", "campaign", "promotion", "badge", "reactor"}
)

_PARSERS: Final[Mapping[str, Callable[[str, object, str], Definition]]] = {
    "workspace": parse_workspace,
    "event_type": parse_event_type,
    "loyalty_program": parse_loyalty_program,
    "distribution": parse_distribution,
    "endpoint": parse_endpoint,
}


def parse_definition(kind: str, name: str, spec: object, pointer: str = "") -> Definition:
    """Read one definition by itself.

    Args:
        kind: one of ``KINDS``.
        name: checked by ``check_name``.
        spec: decoded JSON or YAML; numbers ``int`` or ``Decimal`` (a float counts as what its
            shortest form says).
        pointer: where the document of kind, name and spec stands, ``/<index>`` in an apply; empty
            for a ``PUT``, whose body is the spec itself.

    Raises:
        RefusedError: with every fault; the spec's are at ``<pointer>/spec``, or at the root where
            the pointer is empty.
    """
    if kind not in _PARSERS:
        known = ", ".join(KINDS)
        if kind in LATER_KINDS:
            raise refuse(pointer_to(pointer, "kind"), "unsupported", f"{kind} is not supported yet")
        raise refuse(pointer_to(pointer, "kind"), "kind-unknown", f"is none of {known}")
    misnamed = check_name(kind, name, pointer_to(pointer, "name"))
    spec_pointer = pointer_to(pointer, "spec") if pointer else ""
    try:
        definition = _PARSERS[kind](name, spec, spec_pointer)
    except RefusedError as refused:
        raise RefusedError((*misnamed, *refused.faults)) from refused
    if misnamed:
        raise RefusedError(misnamed)
    return definition


__all__ = [
    "KINDS",
    "LATER_KINDS",
    "Definition",
    "Distribution",
    "Endpoint",
    "EventType",
    "Kind",
    "LoyaltyProgram",
    "WorkspaceSettings",
    "check_name",
    "parse_definition",
]
