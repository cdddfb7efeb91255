"""The owner of a fact is the greatest claim, in whatever order claims are met."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Catalogue
from contracts.events import Profile, ProfileChanged
from contracts.identifiers import FactKey
from projections.customers.model import Claim, Owner, Withdrawal, settle
from projections.customers.model.owners import beats
from projections.kernel.projection import Step

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = FactKey(b"k" * 16)
SNAPSHOT = Catalogue().latest("demo")


def step_at(owner: Owner) -> Step:
    record = CloudEvent(
        id=f"{owner.partition}-{owner.offset}",
        source="gateway",
        type="customer.custom_event",
        subject=owner.customer,
        time=owner.occurred_at,
        workspace="demo",
        recordedtime=owner.appended_at,
        definitionsrevision=0,
        data=msgspec.Raw(b"{}"),
    )
    return Step(
        partition=owner.partition,
        offset=owner.offset,
        at=owner.appended_at,
        time=owner.appended_at,
        record=record,
        data=ProfileChanged(profile=Profile()),
        snapshot=SNAPSHOT,
        change=None,
        judged=SNAPSHOT,
    )


def owner_at(customer: int, hour: int, minute: int, offset: int) -> Owner:
    return Owner(
        customer=f"cust_{customer}",
        occurred_at=NOON + timedelta(hours=hour),
        appended_at=NOON + timedelta(minutes=minute),
        partition=customer % 2,
        offset=offset,
    )


places = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5
)


def claims_of(told: Sequence[tuple[int, int, int]], *, is_bare: bool) -> list[Claim]:
    owners = [owner_at(*each, offset) for offset, each in enumerate(told)]
    return [Claim(key=KEY, is_bare=is_bare, owner=owner, step=step_at(owner)) for owner in owners]


def settle_all(claims: Sequence[Claim]) -> tuple[Owner, list[Withdrawal]]:
    return settle(claims[0].owner, claims[1:])


@given(told=places, is_bare=st.booleans())
def test_the_order_of_claims_does_not_matter(
    told: list[tuple[int, int, int]], *, is_bare: bool
) -> None:
    claims = claims_of(told, is_bare=is_bare)

    owners = {settle_all(order)[0] for order in itertools.permutations(claims)}

    assert len(owners) == 1
    (owner,) = owners
    assert not any(beats(claim.owner, owner, is_bare=is_bare) for claim in claims)


def as_customers_make_them(claims: Sequence[Claim], *, is_bare: bool) -> list[Claim]:
    """Only what can be effective: at one customer claims grow, and a bare id has one."""
    last: dict[str, Owner] = {}
    made: list[Claim] = []
    for claim in claims:
        before = last.get(claim.owner.customer)
        if before is None or (not is_bare and beats(claim.owner, before, is_bare=False)):
            last[claim.owner.customer] = claim.owner
            made.append(claim)
    return made


def interleavings(claims: Sequence[Claim]) -> list[Sequence[Claim]]:
    """Orders in which partitions can be read: each customer's claims stay in order."""

    def in_order(order: Sequence[Claim]) -> bool:
        return all(
            one.owner.customer != other.owner.customer or one.owner.offset < other.owner.offset
            for one, other in itertools.combinations(order, 2)
        )

    return [order for order in itertools.permutations(claims) if in_order(order)]


@given(told=places, is_bare=st.booleans())
def test_every_claim_that_lost_to_another_customer_is_withdrawn(
    told: list[tuple[int, int, int]], *, is_bare: bool
) -> None:
    claims = as_customers_make_them(claims_of(told, is_bare=is_bare), is_bare=is_bare)

    for order in interleavings(claims):
        owner, lost = settle_all(order)
        taken: dict[str, int] = {}
        for each in lost:
            taken[each.customer] = max(each.last_offset, taken.get(each.customer, -1))
        for claim in claims:
            is_owners = claim.owner.customer == owner.customer
            if is_owners and claim.owner == owner:
                assert taken.get(owner.customer, -1) < owner.offset
            if not is_owners:
                assert taken.get(claim.owner.customer, -1) >= claim.owner.offset


@given(places)
def test_settling_in_two_halves_is_settling_at_once(told: list[tuple[int, int, int]]) -> None:
    claims = claims_of(told, is_bare=False)
    for middle in range(1, len(claims)):
        first, lost_first = settle_all(claims[:middle])
        second, lost_second = settle(first, claims[middle:])

        assert (second, lost_first + lost_second) == settle_all(claims)


def test_a_withdrawal_has_one_id_whoever_finds_it_out() -> None:
    old, new = claims_of([(1, 0, 0), (2, 1, 1)], is_bare=False)

    _, (one,) = settle_all([old, new])
    _, (other,) = settle_all([new, old])

    assert (one.id, one.customer, one.held_by) == (other.id, "cust_1", "cust_2")
    assert one.last_offset == other.last_offset == old.owner.offset


def test_the_newer_version_wins_and_of_a_bare_id_the_earlier_append() -> None:
    early_but_newer, late_but_older = owner_at(1, 2, 0, 0), owner_at(2, 1, 1, 1)

    assert beats(early_but_newer, late_but_older, is_bare=False)
    assert not beats(late_but_older, early_but_newer, is_bare=False)
    assert beats(early_but_newer, late_but_older, is_bare=True)
