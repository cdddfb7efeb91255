"""Laws of the ledger: whatever is done to a member, points are neither made nor lost."""

from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from projections.loyalty import ledger
from projections.loyalty.ledger import Balance, Drawn, Lot

POINTS_MAX = 50
AMOUNTS = st.integers(1, POINTS_MAX)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ("earn", "reverse", "take", "give_back", "forgive", "adjust_up", "adjust_down")
        ),
        AMOUNTS,
        st.integers(0, 9),
    ),
    max_size=40,
)


class Member:
    """One member in memory, with what can be undone."""

    def __init__(self) -> None:
        self.balance = Balance()
        self.lots: dict[bytes, Lot] = {}
        self.granted: list[Lot] = []
        self.taken: list[tuple[Drawn, int]] = []

    def earn(self, points: int, _: int) -> None:
        lot = self._lot(points)
        ledger.earn(self.balance, lot)
        self.lots[lot.id] = lot
        self.granted.append(lot)

    def reverse(self, _: int, choice: int) -> None:
        if self.granted:
            lot = self.granted.pop(choice % len(self.granted))
            ledger.take(self.balance, self.lots, lot.granted, first=lot.id)

    def take(self, points: int, _: int) -> None:
        self.taken.append((ledger.take(self.balance, self.lots, points, first=None), points))

    def give_back(self, _: int, choice: int) -> None:
        if self.taken:
            drawn, points = self.taken.pop(choice % len(self.taken))
            homeless = ledger.give_back(self.balance, self.lots, drawn, points)
            if homeless:
                lot = self._lot(homeless)
                self.lots[lot.id] = lot

    def adjust_up(self, points: int, _: int) -> None:
        lot = self._lot(points)
        ledger.adjust_up(self.balance, lot)
        self.lots[lot.id] = lot

    def adjust_down(self, points: int, _: int) -> None:
        drawn = ledger.adjust_down(self.balance, self.lots, points)
        assert sum(taken for _, taken in drawn) <= points

    def forgive(self, points: int, _: int) -> None:
        ledger.forgive(self.balance, points)

    def _lot(self, points: int) -> Lot:
        place = len(self.lots)
        return Lot(id=place.to_bytes(16), granted=points, remaining=points, order=(0, place, 0))


@given(OPERATIONS)
def test_points_are_conserved_and_lots_hold_what_is_available(
    operations: list[tuple[str, int, int]],
) -> None:
    member = Member()
    verbs: dict[str, Callable[[int, int], None]] = {
        "earn": member.earn,
        "reverse": member.reverse,
        "take": member.take,
        "give_back": member.give_back,
        "forgive": member.forgive,
        "adjust_up": member.adjust_up,
        "adjust_down": member.adjust_down,
    }

    for verb, points, choice in operations:
        verbs[verb](points, choice)

        balance = member.balance
        held = sum(lot.remaining for lot in member.lots.values())
        assert balance.earned + balance.adjusted - balance.reversed == balance.lifetime
        assert held == max(0, balance.available)
        assert all(0 <= lot.remaining <= lot.granted for lot in member.lots.values())


@given(st.lists(AMOUNTS, min_size=1), st.randoms(use_true_random=False))
def test_reversing_every_grant_in_any_order_leaves_nothing(
    amounts: list[int], order: Random
) -> None:
    member = Member()
    for points in amounts:
        member.earn(points, 0)

    while member.granted:
        member.reverse(0, order.randrange(len(member.granted)))

    assert member.balance.available == 0
    assert all(lot.remaining == 0 for lot in member.lots.values())
