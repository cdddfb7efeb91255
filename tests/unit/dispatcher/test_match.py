"""Which facts set off which distributions: the pure model, without log or database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec import UNSET, UnsetType

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.codec import decode_object
from contracts.definitions.catalogue import Catalogue
from contracts.events import CUSTOM_EVENT, CustomEvent, Profile
from contracts.identifiers import FactKey, event_id
from contracts.versions import Stored, resolve
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Step
from services.dispatcher.messages import message_of
from services.dispatcher.working import Firing, WorkingSet, fold

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
KEY = FactKey(bytes(16))
WORKSPACE = "demo"
CUSTOMER = "cust_" + "0" * 32
ORDERS = {"on": {"event": "order.completed"}, "endpoint": "crm"}


class Told:
    """Steps of one partition, one after the other, under given distributions."""

    def __init__(self, **distributions: object) -> None:
        self._catalogue = Catalogue()
        self.working = WorkingSet()
        self._stored: Stored | None = None
        self._offset = 0
        for revision, (name, spec) in enumerate(distributions.items(), start=1):
            self._catalogue.apply(WORKSPACE, revision, "distribution", name, spec)

    def tell(
        self,
        *,
        metadata: object = None,
        profile: Profile | None = None,
        occurred_at: datetime | None = None,
        deleted_at: datetime | UnsetType | None = UNSET,
        sealed: str | None = None,
        is_historical: bool = False,
        goal_value: Decimal | None = None,
    ) -> list[Firing]:
        """Fold one version of the one fact; answers what it set off."""
        event = CustomEvent(
            event="order.completed",
            event_id=event_id(KEY),
            identified="external",
            external_id="order_1",
            occurred_at=occurred_at,
            deleted_at=deleted_at,
            metadata=codec.raw(metadata or {}),
            sealed=sealed,
            goal_value=goal_value,
            historical=is_historical,
            profile=profile,
        )
        self.working.firings.clear()
        fold(self.working, self._step(event))
        return list(self.working.firings)

    def _step(self, event: CustomEvent) -> Step:
        self._offset += 1
        snapshot = self._catalogue.latest(WORKSPACE)
        change = resolve(
            self._stored,
            event,
            key=KEY,
            recorded_at=AT,
            at=AT,
            offset=self._offset,
            revision=snapshot.revision,
        )
        self._stored = change.stored
        record = CloudEvent(
            id=f"record-{self._offset}",
            source="gateway",
            type=CUSTOM_EVENT,
            subject=CUSTOMER,
            time=AT,
            workspace=WORKSPACE,
            recordedtime=AT,
            definitionsrevision=snapshot.revision,
            data=codec.raw(event),
        )
        return Step(
            partition=0,
            offset=self._offset,
            at=AT,
            time=AT,
            record=record,
            data=event,
            snapshot=snapshot,
            change=change,
            judged=snapshot,
        )


def _names(firings: list[Firing]) -> list[str]:
    return [each.distribution.name for each in firings]


def test_each_active_distribution_of_the_event_fires_once_in_order_of_name() -> None:
    told = Told(
        second=ORDERS,
        first=ORDERS,
        silent={**ORDERS, "active": False},
        other={"on": {"event": "left_review"}},
    )

    assert _names(told.tell()) == ["first", "second"]


def test_later_versions_set_nothing_off() -> None:
    told = Told(orders=ORDERS)
    told.tell(metadata={"amount": 1})

    assert told.tell(metadata={"amount": 2}) == []
    assert told.tell(metadata={"amount": 2}) == []


def test_a_fact_that_was_first_told_as_deleted_sets_nothing_off_when_restored() -> None:
    told = Told(orders=ORDERS)

    assert told.tell(deleted_at=AT) == []
    assert told.tell(deleted_at=None) == []


def test_a_backfill_sets_nothing_off() -> None:
    assert Told(orders=ORDERS).tell(is_historical=True) == []


@pytest.mark.parametrize(("late", "fires"), [(timedelta(0), True), (timedelta(seconds=1), False)])
def test_an_event_older_than_allowed_sets_nothing_off(late: timedelta, *, fires: bool) -> None:
    told = Told(orders={**ORDERS, "max_event_age": "PT1H"})

    assert bool(told.tell(occurred_at=AT - timedelta(hours=1) - late)) is fires


@pytest.mark.parametrize(("vip", "fires"), [(True, True), (False, False)])
def test_a_condition_sees_the_profile_with_what_the_event_brings(vip: bool, *, fires: bool) -> None:
    told = Told(orders={**ORDERS, "if": {"customer": "metadata.VIP", "eq": True}})

    assert bool(told.tell(profile=Profile(metadata=codec.raw({"VIP": vip})))) is fires


@pytest.mark.parametrize(("amount", "fires"), [("100.01", True), ("100", False)])
def test_a_condition_compares_decimals_exactly(amount: str, *, fires: bool) -> None:
    told = Told(orders={**ORDERS, "if": {"event": "goal_value", "gt": 100}})

    assert bool(told.tell(goal_value=Decimal(amount))) is fires


def test_properties_that_open_are_told_in_clear_beside_the_others() -> None:
    told = Told(orders={**ORDERS, "if": {"event": "metadata.ip", "exists": True}})
    told.working.properties = {(CUSTOMER, "blob"): {"ip": "203.0.113.9"}}

    [firing] = told.tell(metadata={"amount": 1}, sealed="blob")

    assert decode_object(firing.metadata) == {"amount": 1, "ip": "203.0.113.9"}


def test_properties_whose_key_is_gone_are_left_out() -> None:
    [firing] = Told(orders=ORDERS).tell(metadata={"amount": 1}, sealed="blob")

    assert bytes(firing.metadata) == b'{"amount":1}'


def test_properties_that_do_not_open_make_the_record_a_dead_letter() -> None:
    told = Told(orders=ORDERS)
    told.working.properties = {(CUSTOMER, "blob"): None}

    with pytest.raises(InvalidRecordError):
        told.tell(sealed="blob")


def test_a_profile_that_does_not_open_makes_the_record_a_dead_letter() -> None:
    told = Told(orders=ORDERS)
    told.working.profiles = {(CUSTOMER, "blob"): None}

    with pytest.raises(InvalidRecordError):
        told.tell(profile=Profile(sealed="blob"))


def test_a_message_bears_place_endpoint_and_an_id_of_its_cause() -> None:
    told = Told(orders=ORDERS, again={**ORDERS, "endpoint": "erp"})

    one, other = (message_of(firing) for firing in told.tell())

    assert (one.endpoint, other.endpoint) == ("erp", "crm")
    assert one.id != other.id
    assert (one.partition, one.place, one.event) == (0, 1, event_id(KEY))
    assert decode_object(one.body)["id"] == one.id
