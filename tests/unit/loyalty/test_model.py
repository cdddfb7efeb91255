"""Entries that facts cause, and that corrections take back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Catalogue
from contracts.definitions.loyalty_programs import AWARD_MAX
from contracts.events import CUSTOM_EVENT, CustomEvent
from contracts.identifiers import FactKey, derive, event_id
from contracts.versions import Stored, resolve
from projections.kernel.projection import Step
from projections.loyalty import model
from projections.loyalty.entries import Entry
from projections.loyalty.ledger import POINTS_MAX
from projections.loyalty.model import WorkingSet, look_at

CUSTOMER = "cust_" + "0a" * 16
OTHER = "cust_" + "0b" * 16
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
REVISION = 1


class History:
    """Versions of one customer's orders, as the kernel hands them to the model."""

    def __init__(
        self,
        *,
        negative_balance: str = "allow",
        customer: str = CUSTOMER,
        limits: Sequence[Mapping[str, object]] = (),
    ) -> None:
        self.steps: list[Step] = []
        self._customer = customer
        self._stored: dict[str, Stored] = {}
        catalogue = Catalogue()
        rule = {
            "id": "spend",
            "on": {"event": "order"},
            "per": {"every": 10, "points": 1, "of": "metadata.amount"},
            "limits": list(limits),
        }
        program = {"earning_rules": [rule], "negative_balance": negative_balance}
        catalogue.apply("demo", REVISION, "loyalty_program", "club", program)
        self._snapshot = catalogue.at("demo", REVISION)

    def tell(
        self,
        order: str,
        amount: Decimal | int,
        *,
        deleted: bool = False,
        ago: timedelta = timedelta(0),
    ) -> None:
        """Tell the next version of an order, which occurred so long ``ago``."""
        offset = len(self.steps)
        at = NOON + timedelta(minutes=offset)
        key = FactKey(derive("order", order))
        event = CustomEvent(
            event="order",
            event_id=event_id(key),
            identified="external",
            external_id=order,
            occurred_at=at - ago,
            deleted_at=at if deleted else None,
            metadata=codec.raw({"amount": amount}),
        )
        change = resolve(
            self._stored.get(order),
            event,
            key=key,
            recorded_at=at,
            at=at,
            offset=offset,
            revision=REVISION,
        )
        assert change.stored is not None, "a told order is stored"
        self._stored[order] = change.stored
        record = CloudEvent(
            id=f"record-{offset}",
            source="gateway",
            type=CUSTOM_EVENT,
            subject=self._customer,
            time=at,
            workspace="demo",
            recordedtime=at,
            definitionsrevision=REVISION,
            data=codec.raw(event),
        )
        self.steps.append(
            Step(
                partition=3,
                offset=offset,
                at=at,
                time=at,
                record=record,
                data=event,
                snapshot=self._snapshot,
                change=change,
                judged=self._snapshot,
            )
        )

    def folded(self) -> WorkingSet:
        """Fold all of it as one batch."""
        working = WorkingSet()
        for step in self.steps:
            look_at(working, step)
        for step in self.steps:
            list(model.apply(working, step))
        return working


def points_of(entries: list[Entry]) -> list[int]:
    return [entry.points for entry in entries]


def test_whole_steps_count_toward_zero_once_an_event() -> None:
    history = History()
    history.tell("one", Decimal("39.99"))
    history.tell("two", Decimal("-19.99"))

    working = history.folded()

    assert points_of(working.new_entries) == [3, -1]


def test_an_event_that_gives_nothing_posts_nothing() -> None:
    history = History()
    history.tell("one", 9)

    working = history.folded()

    assert working.new_entries == []
    assert working.balances == {}


def test_a_new_version_reverses_exactly_what_the_old_one_gave() -> None:
    history = History()
    history.tell("one", 30)
    history.tell("one", 50)

    working = history.folded()

    first, reversal, second = working.new_entries
    assert points_of([first, reversal, second]) == [3, -3, 5]
    assert reversal.reverses == first.id
    assert len({first.id, reversal.id, second.id}) == len(working.new_entries)


def test_an_entrys_place_counts_among_the_entries_of_its_record() -> None:
    history = History()
    history.tell("other", 30)
    history.tell("one", 30)
    history.tell("one", 50)

    working = history.folded()

    places = [(entry.offset, entry.place) for entry in working.new_entries]
    assert places == [(0, 0), (1, 0), (2, 0), (2, 1)]


def test_what_a_correction_leaves_below_zero_is_forgiven_where_debts_are_refused() -> None:
    history = History(negative_balance="refuse")
    history.tell("bought", 30)
    history.tell("returned", -20)
    history.tell("bought", 30, deleted=True)

    working = history.folded()

    assert points_of(working.new_entries) == [3, -2, -1]
    assert working.new_entries[-1].shortfall == 2
    assert [balance.available for balance in working.balances.values()] == [0]


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-60, 90), st.booleans()), max_size=20)
)
def test_deleting_every_fact_leaves_nothing(told: list[tuple[str, int, bool]]) -> None:
    history = History()
    for order, amount, deleted in told:
        history.tell(order, amount, deleted=deleted)
    for order in {order for order, _, _ in told}:
        history.tell(order, 0, deleted=True)

    working = history.folded()

    assert sum(points_of(working.new_entries)) == 0
    assert all(balance.available == 0 for balance in working.balances.values())
    assert all(balance.earned == balance.reversed for balance in working.balances.values())


def test_two_customers_who_hold_the_same_fact_have_entries_of_their_own() -> None:
    histories = [History(customer=CUSTOMER), History(customer=OTHER)]
    for history in histories:
        history.tell("one", 30)
        history.tell("one", 0, deleted=True)

    identities = [e.id for history in histories for e in history.folded().new_entries]

    assert len(identities) == len(set(identities)) == len(("earned", "reversed")) * len(histories)


def test_what_does_not_fit_into_a_members_sums_is_not_posted_and_all_can_be_taken_back() -> None:
    orders = POINTS_MAX // AWARD_MAX + 1
    history = History()
    for number in range(orders):
        history.tell(f"order-{number}", Decimal("1E+30"))
    full = history.folded()
    for number in range(orders):
        history.tell(f"order-{number}", 0, deleted=True)

    emptied = history.folded()

    assert points_of(full.new_entries) == [AWARD_MAX] * (orders - 1)
    assert [balance.available for balance in full.balances.values()] == [POINTS_MAX]
    assert [balance.available for balance in emptied.balances.values()] == [0]


def test_refunds_without_end_stop_at_the_bound_of_a_members_sums() -> None:
    history = History()
    for number in range(POINTS_MAX // AWARD_MAX + 1):
        history.tell(f"refund-{number}", Decimal("-1E+30"))

    working = history.folded()

    assert [balance.reversed for balance in working.balances.values()] == [POINTS_MAX]
