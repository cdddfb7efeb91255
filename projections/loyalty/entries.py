"""Entries of the ledger: what one is made of, its id, and how it reads on the topic.

Guarantee: an entry's id derives from program, rule, customer, fact and version, or from the entry
that it reverses, so that what a fact caused is found again, and met again when told twice. No two
customers have an entry of the same id, also where a fact moved from one to the other.
"""

from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec

from contracts.effects import EntryKind, LoyaltyEntry, Transfer
from contracts.identifiers import Derivation, FactKey, derive, event_id
from contracts.requests import spell_request_id
from contracts.topics import CUSTOMER_EVENTS
from contracts.versions import Fact
from projections.loyalty.ledger import Drawn

Customer = tuple[str, str]
"""Workspace and customer id."""
Member = tuple[str, str, str]
"""Workspace, customer id and program."""
EntryKey = tuple[str, str, bytes]
"""Workspace, customer id and entry."""

TRANSFERS_MAX = 4_096
"""Amounts whose transfers are kept: most entries of a program are of few amounts."""


REQUESTED: Final[frozenset[EntryKind]] = frozenset({"adjusted"})
"""Kinds of entries that requests cause, not facts: ``fact`` is the request's key."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry as the store keeps it; ``points`` signed from the member's side."""

    id: bytes
    member: Member
    kind: EntryKind
    points: int
    shortfall: int
    at: datetime
    rule: str
    revision: int
    fact: FactKey
    reverses: bytes | None
    partition: int
    offset: int
    place: int
    transfers: tuple[Transfer, ...]
    drawn: Drawn


def derivation(program: str, rule: str) -> Derivation:
    """Make what derives the ids of a rule's entries (``entry_id``)."""
    return Derivation("entry", program, rule)


def entry_id(entries: Derivation, customer: str, fact: Fact) -> bytes:
    """Derive the id of what a rule grants a customer for one version of a fact."""
    return entries.of(customer.encode() + fact.key, fact.ordinal)


def reversal_id(entry: bytes) -> bytes:
    """Derive the id of the entry that reverses another: there is one at most."""
    return derive("reversal", entry.hex())


@lru_cache(TRANSFERS_MAX)
def transfers_of(points: int) -> tuple[Transfer, ...]:
    """Say where points come from or go back to; signed from the member's side."""
    if points > 0:
        return (Transfer("issued", "available", points),)
    if points < 0:
        return (Transfer("available", "issued", -points),)
    return ()


def _cause_of(entry: Entry) -> str:
    """Name the event that caused an entry, or the request."""
    return spell_request_id(entry.fact) if entry.kind in REQUESTED else event_id(entry.fact)


def public_entry(entry: Entry) -> LoyaltyEntry:
    """Return an entry as it stands on the topic and in answers."""
    return LoyaltyEntry(
        id="entry_" + entry.id.hex(),
        program=entry.member[2],
        customer=entry.member[1],
        kind=entry.kind,
        points=entry.points,
        at=entry.at,
        rule=entry.rule,
        revision=entry.revision,
        caused_by=_cause_of(entry),
        position=f"{CUSTOMER_EVENTS}/{entry.partition}/{entry.offset}",
        transfers=entry.transfers,
        reverses=None if entry.reverses is None else "entry_" + entry.reverses.hex(),
        shortfall=entry.shortfall,
    )
