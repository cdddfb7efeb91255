"""Points of one member: posting, taking back, giving back. Pure; amounts are whole points.

Guarantee: whatever is done, ``earned + adjusted − reversed = available + pending + spent +
expired``, and what is available is what the lots hold less what is owed.
"""

from datetime import UTC, datetime

import msgspec

NEVER = datetime.max.replace(tzinfo=UTC)
POINTS_MAX = 10**15
"""Points that one member can earn, lose by refunds, and be adjusted by, in a program: what goes
beyond is not posted. Sums of thousands of such members fit into 64 bits."""


class Balance(msgspec.Struct, kw_only=True, gc=False):
    """The sums beside a member's entries; ``available`` below zero means points are owed."""

    available: int = 0
    pending: int = 0
    spent: int = 0
    expired: int = 0
    earned: int = 0
    adjusted: int = 0
    reversed: int = 0

    @property
    def lifetime(self) -> int:
        """All points the member ever got and keeps counting: available, pending, spent, expired."""
        return self.available + self.pending + self.spent + self.expired


class Lot(msgspec.Struct, kw_only=True, gc=False):
    """Points granted together, so that they expire together.

    ``order`` is its place: partition, offset, and which of one record's it is.
    """

    id: bytes
    granted: int
    remaining: int
    expires_at: datetime | None = None
    order: tuple[int, int, int] = (0, 0, 0)

    @property
    def spends_at(self) -> tuple[datetime, tuple[int, int, int]]:
        """Where the lot stands in the order of spending: soonest-expiring first, never last."""
        return (self.expires_at or NEVER, self.order)


Drawn = tuple[tuple[bytes, int], ...]
"""Lots and the points taken from each."""


def room(balance: Balance, points: int) -> int:
    """How much of an award fits into a member's sums; below zero what a refund takes back."""
    if points > 0:
        return min(points, max(0, POINTS_MAX - balance.earned))
    return -min(-points, max(0, POINTS_MAX - balance.reversed))


def earn(balance: Balance, lot: Lot) -> None:
    """Grant a lot; what is owed is filled from it first."""
    _grant(balance, lot)
    balance.earned += lot.granted


def adjust_up(balance: Balance, lot: Lot) -> None:
    """Grant a lot by hand; what is owed is filled from it first."""
    _grant(balance, lot)
    balance.adjusted += lot.granted


def take(balance: Balance, lots: dict[bytes, Lot], points: int, *, first: bytes | None) -> Drawn:
    """Take points back: from the lot ``first``, then soonest-expiring; the rest is owed."""
    balance.reversed += points
    return _draw(balance, lots, points, first)


def adjust_down(balance: Balance, lots: dict[bytes, Lot], points: int) -> Drawn:
    """Take points by hand, soonest-expiring first; the rest is owed."""
    balance.adjusted -= points
    return _draw(balance, lots, points, None)


def _grant(balance: Balance, lot: Lot) -> None:
    owed = max(0, -balance.available)
    lot.remaining = lot.granted - min(lot.granted, owed)
    balance.available += lot.granted


def _draw(balance: Balance, lots: dict[bytes, Lot], points: int, first: bytes | None) -> Drawn:
    drawn: list[tuple[bytes, int]] = []
    left = points
    for lot in _in_order(lots, first):
        if not left:
            break
        taken = min(left, lot.remaining)
        if taken:
            lot.remaining -= taken
            left -= taken
            drawn.append((lot.id, taken))
    balance.available -= points
    return tuple(drawn)


def give_back(balance: Balance, lots: dict[bytes, Lot], drawn: Drawn, points: int) -> int:
    """Give back what was taken; answers what found no lot to go back to.

    What is owed is filled first, the rest returns to the lots it came from. A remainder was owed
    when it was taken and filled by others since: it needs a lot of its own.
    """
    left = points - min(points, max(0, -balance.available))
    for lot_id, taken in drawn:
        returned = min(taken, left)
        lots[lot_id].remaining += returned
        left -= returned
    balance.available += points
    balance.reversed -= points
    return left


def forgive(balance: Balance, points: int) -> int:
    """Forgive what a reversal of ``points`` left below zero; answers how much."""
    forgiven = min(points, max(0, -balance.available))
    balance.available += forgiven
    balance.reversed -= forgiven
    return forgiven


def join(balance: Balance, lots: dict[bytes, Lot], other: Balance) -> None:
    """Add what another one has, whose lots are among these; what one owes the other's fill."""
    balance.available += other.available
    balance.pending += other.pending
    balance.spent += other.spent
    balance.expired += other.expired
    balance.earned += other.earned
    balance.adjusted += other.adjusted
    balance.reversed += other.reversed
    fills = sum(lot.remaining for lot in lots.values()) - max(0, balance.available)
    for lot in _in_order(lots, None):
        taken = min(lot.remaining, fills)
        lot.remaining -= taken
        fills -= taken


def _in_order(lots: dict[bytes, Lot], first: bytes | None) -> list[Lot]:
    ordered = sorted(lots.values(), key=lambda lot: lot.spends_at)
    if first is not None and first in lots:
        ordered.insert(0, lots[first])
    return ordered
