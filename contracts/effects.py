"""What projections tell the world: the records on their output topics.

Guarantee: as for ``contracts.events``, these structs decode every record ever written.
"""

from datetime import datetime
from typing import Literal

import msgspec

LOYALTY_ENTRY = "loyalty.entry"

EntryKind = Literal[
    "earned",
    "pending",
    "activated",
    "reversed",
    "expired",
    "spent",
    "refunded",
    "adjusted",
    "transferred_in",
    "transferred_out",
]
Account = Literal["issued", "available", "pending", "spent", "expired"]
"""``available`` and ``pending`` belong to the member, the others to the program."""


class Transfer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Points moved from ``debit`` to ``credit``; ``points`` > 0, so that it sums to zero."""

    debit: Account
    credit: Account
    points: int

    def __post_init__(self) -> None:
        """Refuse what is no movement."""
        assert self.points > 0, "a transfer moves points from one account to another"


class LoyaltyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One entry of a member's ledger; never changed, corrected by later entries.

    ``points`` are signed from the member's side. ``at`` is the logical time of its posting,
    ``revision`` that of the definitions which judged it, ``caused_by`` the event or request.
    ``shortfall`` is what a program that refuses negative balances forgave, in points. ``position``
    is the record's.
    """

    id: str
    program: str
    customer: str
    kind: EntryKind
    points: int
    at: datetime
    rule: str
    revision: int
    caused_by: str
    position: str
    transfers: tuple[Transfer, ...]
    reverses: str | None = None
    shortfall: int = 0
