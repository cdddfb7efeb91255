"""Requests as loyalty decides them at their place: adjusting, joining, refusing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Catalogue
from contracts.events import CustomEvent, EventData
from contracts.identifiers import FactKey, derive, event_id
from contracts.requests import (
    AdjustRequested,
    JoinRequested,
    Request,
    command_digest,
    request_id,
)
from contracts.versions import resolve
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Step
from projections.loyalty.entries import REQUESTED, public_entry
from projections.loyalty.ledger import POINTS_MAX
from projections.loyalty.model import WorkingSet, look_at
from projections.loyalty.outcomes import Answer, Granted, Joined, Refused
from projections.loyalty.projection import Loyalty
from projections.loyalty.requests import may_take

CUSTOMER = "cust_" + "0a" * 16
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RULE = {"id": "visit", "on": {"event": "visit"}, "points": 50}


class Member:
    """One customer's records, folded as one batch."""

    def __init__(self, *, negative_balance: str = "allow", join: str = "automatic") -> None:
        catalogue = Catalogue()
        program = {"earning_rules": [RULE], "negative_balance": negative_balance, "join": join}
        catalogue.apply("demo", 1, "loyalty_program", "club", program)
        self._snapshot = catalogue.at("demo", 1)
        self._steps: list[Step] = []

    def visit(self) -> None:
        """Tell an event worth 50 points."""
        offset = len(self._steps)
        key = FactKey(derive("visit", str(offset)))
        event = CustomEvent(event="visit", event_id=event_id(key))
        self.tell(event, f"record-{offset}", key)

    def ask(self, request: Request, key: str) -> None:
        """Ask for something under an idempotency key."""
        self.tell(request, request_id("demo", key), None)

    def adjust(self, points: int, key: str = "k", program: str = "club") -> None:
        digest = command_digest(program, str(points).encode())
        self.ask(AdjustRequested(program=program, points=points, digest=digest), key)

    def join(self, key: str = "j") -> None:
        self.ask(JoinRequested(program="club", digest="d"), key)

    def tell(self, told: EventData, record_id: str, key: FactKey | None) -> None:
        offset = len(self._steps)
        at = NOON + timedelta(minutes=offset)
        change = None
        if isinstance(told, CustomEvent) and key is not None:
            change = resolve(None, told, key=key, recorded_at=at, at=at, offset=offset, revision=1)
        record = CloudEvent(
            id=record_id,
            source="api",
            type="any",
            subject=CUSTOMER,
            time=at,
            workspace="demo",
            recordedtime=at,
            definitionsrevision=1,
            data=codec.raw(told),
        )
        self._steps.append(
            Step(
                partition=3,
                offset=offset,
                at=at,
                time=at,
                record=record,
                data=told,
                snapshot=self._snapshot,
                change=change,
                judged=self._snapshot,
            )
        )

    def folded(self) -> WorkingSet:
        working = WorkingSet()
        loyalty = Loyalty()
        for step in self._steps:
            look_at(working, step)
            member = may_take(step)
            if member is not None:
                working.needs_lots.add(member)
        for step in self._steps:
            self.outputs = list(loyalty.apply(working, step))
        return working


def answers(working: WorkingSet) -> list[Answer]:
    return [outcome.answer for outcome in working.new_outcomes]


def test_points_given_by_hand_are_an_entry_and_a_lot_of_their_own() -> None:
    member = Member()
    member.adjust(70)

    working = member.folded()

    (entry,), (new,), (balance,) = (
        working.new_entries,
        working.new_lots,
        working.balances.values(),
    )
    assert (entry.kind, entry.points, entry.rule, entry.revision) == ("adjusted", 70, "", 1)
    assert (new.lot.id, new.lot.remaining) == (entry.id, 70)
    assert (balance.available, balance.adjusted, balance.earned) == (70, 70, 0)
    assert answers(working) == [Granted(public_entry(entry))]
    assert [output.id for output in member.outputs] == [public_entry(entry).id]


def test_an_entry_by_hand_is_caused_by_its_request() -> None:
    member = Member()
    member.adjust(70, "some key")

    (entry,) = member.folded().new_entries

    assert entry.kind in REQUESTED
    assert public_entry(entry).caused_by == request_id("demo", "some key")


def test_points_taken_by_hand_come_out_of_what_was_earned() -> None:
    member = Member()
    member.visit()
    member.adjust(-30)

    working = member.folded()

    assert [new.lot.remaining for new in working.new_lots] == [20]
    assert [balance.available for balance in working.balances.values()] == [20]


def test_an_adjustment_below_zero_is_owed_where_that_is_allowed() -> None:
    member = Member()
    member.visit()
    member.adjust(-80)
    member.visit()

    working = member.folded()

    assert [balance.available for balance in working.balances.values()] == [20]
    assert sum(new.lot.remaining for new in working.new_lots) == 20


def test_an_adjustment_below_zero_is_refused_where_debts_are() -> None:
    member = Member(negative_balance="refuse")
    member.visit()
    member.adjust(-51)
    member.adjust(-50, "exactly")

    working = member.folded()

    first, second = answers(working)
    assert isinstance(first, Refused) and first.slug == "negative-balance"
    assert isinstance(second, Granted) and second.entry.points == -50
    assert [balance.available for balance in working.balances.values()] == [0]


def test_adjustments_of_a_member_are_bounded() -> None:
    member = Member()
    member.adjust(POINTS_MAX, "all")
    member.adjust(1, "more")

    _, refused = answers(member.folded())

    assert isinstance(refused, Refused) and refused.slug == "points-limit"


def test_a_program_that_is_not_there_refuses_and_makes_no_member() -> None:
    member = Member()
    member.adjust(5, program="gone")

    working = member.folded()

    (answer,) = answers(working)
    assert isinstance(answer, Refused) and answer.slug == "program-unknown"
    assert working.balances == {}


def test_the_same_request_again_is_decided_once_also_when_it_says_something_else() -> None:
    member = Member()
    member.adjust(5, "k")
    member.adjust(5, "k")
    member.adjust(7, "k")

    working = member.folded()

    assert [entry.points for entry in working.new_entries] == [5]
    (outcome,) = working.new_outcomes
    assert (outcome.offset, outcome.digest) == (0, command_digest("club", b"5"))
    assert member.outputs == []


def test_a_refusal_stands_also_when_the_rule_would_allow_it_later() -> None:
    member = Member(negative_balance="refuse")
    member.adjust(-10)
    member.visit()
    member.adjust(-10)

    working = member.folded()

    assert len(answers(working)) == 1
    assert [balance.available for balance in working.balances.values()] == [50]


def test_who_has_not_joined_an_explicit_program_earns_nothing() -> None:
    member = Member(join="explicit")
    member.visit()
    member.adjust(5)

    working = member.folded()

    (answer,) = answers(working)
    assert isinstance(answer, Refused) and answer.slug == "not-a-member"
    assert working.new_entries == []
    assert working.balances == {}


def test_who_joined_earns_from_then_on() -> None:
    member = Member(join="explicit")
    member.visit()
    member.join()
    member.visit()
    member.adjust(5)
    member.join("again")

    working = member.folded()

    first, _, again = answers(working)
    assert first == Joined(available=0, pending=0, spent=0, expired=0)
    assert again == Joined(available=55, pending=0, spent=0, expired=0)
    assert [entry.points for entry in working.new_entries] == [50, 5]


def test_joining_an_automatic_program_answers_the_member_and_makes_no_row() -> None:
    member = Member()
    member.join()

    working = member.folded()

    assert answers(working) == [Joined(available=0, pending=0, spent=0, expired=0)]
    assert working.balances == {}


def test_a_record_that_has_no_requests_id_is_refused() -> None:
    member = Member()
    member.tell(JoinRequested(program="club", digest="d"), "record-1", None)

    with pytest.raises(InvalidRecordError):
        member.folded()


_asked = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(-60, 90).filter(bool)), max_size=12
)


@given(asked=_asked, data=st.data(), negative_balance=st.sampled_from(["allow", "refuse"]))
def test_in_any_order_and_however_often_each_request_has_one_effect(
    asked: list[tuple[str, int]], data: st.DataObject, negative_balance: str
) -> None:
    repeated = asked + data.draw(st.lists(st.sampled_from(asked), max_size=8)) if asked else []
    order = data.draw(st.permutations(repeated))
    member = Member(negative_balance=negative_balance)
    for key, points in order:
        member.adjust(points, key)

    working = member.folded()

    first = dict(reversed(order))
    granted = [each.entry for each in answers(working) if isinstance(each, Granted)]
    assert len(working.new_outcomes) == len(first)
    assert {entry.caused_by: entry.points for entry in granted}.items() <= {
        request_id("demo", key): points for key, points in first.items()
    }.items()
    total = sum(entry.points for entry in granted)
    assert sum(balance.available for balance in working.balances.values()) == total
    assert sum(balance.adjusted for balance in working.balances.values()) == total
    assert sum(new.lot.remaining for new in working.new_lots) == max(0, total)
    assert negative_balance == "allow" or total >= 0
    assert negative_balance == "refuse" or len(granted) == len(first)
