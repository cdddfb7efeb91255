"""Entries of the ledger: what one is made of, its id, and how it reads on the topic.

Guarantee: an entry's id derives from program, rule, customer, fact and version, or from the entry
that it reverses, so that what a fact caused is found again, and met again when told twice. No two
customers have an entry of the same id, also where a fact moved from one to the other. It begins
with the rule and the second at which the event counts, so that what a rule gave a customer in a
period, with what was taken back of it, is one range of the ledger's key.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from contracts.effects import EntryKind, LoyaltyEntry, Transfer
from contracts.identifiers import FACT_KEY_BYTES, Derivation, FactKey, derive, event_id
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
SERIES_MAX = 4_096
"""Rules whose series are kept, about 1 KB each."""
_RULE_BYTES = 2
"""Of an id, from its rule: enough to keep the ranges of a program's rules apart."""
_SECOND_BYTES = 5
"""Of an id, seconds since the year 1: up to the year 9999."""
_PREFIX_BYTES = _RULE_BYTES + _SECOND_BYTES
_REST_BYTES = FACT_KEY_BYTES - _PREFIX_BYTES
"""Of an id, from all that it derives from: 72 bits, among the entries of one rule and second."""
_BEGINNING = datetime.min.replace(tzinfo=UTC)


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


class Series:
    """The entries of one rule of a program: their ids, and the range of ids that a time has."""

    def __init__(self, program: str, rule: str) -> None:
        self.rule = rule
        self._derivation = Derivation("entry", program, rule)
        shortened = int.from_bytes(derive("rule", program, rule)[:_RULE_BYTES])
        self._first = shortened << 8 * _SECOND_BYTES

    def id_of(self, customer: str, fact: Fact) -> bytes:
        """Derive the id of what the rule grants a customer for one version of a fact.

        It stays that of the customer whose fact it was first, also after a merge.
        """
        derived = self._derivation.of((fact.origin or customer).encode() + fact.key, fact.ordinal)
        return self._begin(fact.occurred_at) + derived[_PREFIX_BYTES:]

    def between(self, start: datetime, end: datetime) -> tuple[bytes, bytes]:
        """The least and the greatest id of events from ``start`` until before ``end``.

        Both are whole seconds, ``end`` the later one.
        """
        last = int.from_bytes(self._begin(end)) - 1
        low, high = self._begin(start), last.to_bytes(_PREFIX_BYTES)
        return low + bytes(_REST_BYTES), high + b"\xff" * _REST_BYTES

    def _begin(self, at: datetime) -> bytes:
        since = at - _BEGINNING
        return (self._first + since.days * 86_400 + since.seconds).to_bytes(_PREFIX_BYTES)


@lru_cache(SERIES_MAX)
def series_of(program: str, rule: str) -> Series:
    """Return the entries of a rule; corrections ask for those of every rule on their event."""
    return Series(program, rule)


def reversal_id(entry: bytes) -> bytes:
    """Derive the id of the entry that reverses another: there is one at most."""
    return entry[:_PREFIX_BYTES] + derive("reversal", entry.hex())[_PREFIX_BYTES:]


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
