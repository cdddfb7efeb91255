"""Folding records: what becomes of a customer's rows, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import UNSET

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Catalogue
from contracts.events import CustomEvent, EventData, EventWithdrawn, Profile, ProfileChanged
from contracts.identifiers import FactKey, event_id, key_of_event_id
from contracts.internal_events import InternalEvent
from contracts.profiles import digest_of
from contracts.requests import AdjustRequested, Request
from contracts.versions import Change, Stored, resolve, withdraw
from projections.customers.model import EventRow, WorkingSet, apply
from projections.customers.model.working import CUSTOMERS_MAX
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Step

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALEX = "cust_" + "a" * 32
SNAPSHOT = Catalogue().latest("demo")


class Partition:
    """One partition's log, folded record by record."""

    def __init__(self) -> None:
        self.working = WorkingSet()
        self.facts: dict[FactKey, Stored | None] = {}
        self.offset = -1

    def tell(self, told: EventData, customer: str = ALEX) -> None:
        self.offset += 1
        at = NOON + timedelta(seconds=self.offset)
        record = CloudEvent(
            id=f"r{self.offset}",
            source="gateway",
            type="any",
            subject=customer,
            time=at,
            workspace="demo",
            recordedtime=at,
            definitionsrevision=0,
            data=msgspec.Raw(b"{}"),
        )
        profile = told.profile if isinstance(told, CustomEvent | ProfileChanged) else None
        if profile is not None:
            self.working.digests[self.offset] = digest_of(profile)
        step = Step(
            partition=0,
            offset=self.offset,
            at=at,
            time=at,
            record=record,
            data=told,
            snapshot=SNAPSHOT,
            judged=SNAPSHOT,
            change=self._change(told, at),
        )
        apply(self.working, step)

    def _change(self, told: EventData, at: datetime) -> Change | None:
        if isinstance(told, ProfileChanged | Request | InternalEvent):
            return None
        key = key_of_event_id(told.event_id)
        stored = self.facts.get(key)
        if isinstance(told, EventWithdrawn):
            change = withdraw(stored, event_id(key), last_offset=told.last_offset)
        else:
            change = resolve(
                stored, told, key=key, recorded_at=at, at=at, offset=self.offset, revision=0
            )
        self.facts[key] = change.stored
        return change

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.working.entries]

    def row(self, number: int = 1) -> EventRow:
        return self.working.events["demo", ALEX, FactKey(number.to_bytes(16))]


def order(number: int = 1, **metadata: codec.Json) -> CustomEvent:
    return CustomEvent(
        event="order.completed",
        event_id=event_id(FactKey(number.to_bytes(16))),
        identified="external",
        external_id=str(number),
        metadata=codec.raw(metadata),
    )


def knows(**metadata: codec.Json) -> Profile:
    return Profile(metadata=codec.raw(metadata))


def test_the_first_record_creates_the_customer_with_what_it_brings() -> None:
    partition = Partition()

    partition.tell(msgspec.structs.replace(order(), profile=knows(VIP=True)))

    created, told = partition.working.entries
    assert (created.kind, created.number, created.caused_by) == (
        "customer.created",
        0,
        order().event_id,
    )
    assert codec.decode_object(created.data)["changes"] == {
        "metadata.VIP": {"old": None, "new": True}
    }
    assert (told.kind, told.number, told.caused_by) == ("custom_event.order.completed", 1, None)
    customer = partition.working.customers["demo", ALEX]
    assert customer.created_at == customer.updated_at == NOON


def test_a_profile_that_says_the_same_leaves_no_line() -> None:
    partition = Partition()
    for profile in (knows(VIP=True), knows(VIP=True), knows(VIP=False), knows()):
        partition.tell(ProfileChanged(profile=profile))

    assert partition.kinds == ["customer.created", "customer.updated"]
    assert partition.working.customers["demo", ALEX].updated_at == NOON + timedelta(seconds=2)


def test_a_stale_version_merges_no_profile() -> None:
    partition = Partition()
    partition.tell(msgspec.structs.replace(order(), occurred_at=NOON))
    late = msgspec.structs.replace(
        order(), occurred_at=NOON - timedelta(hours=1), profile=knows(VIP=True)
    )

    partition.tell(late)

    assert partition.working.customers["demo", ALEX].profile.metadata == {}
    assert partition.row().outcome == "stale" and partition.row().version == 1
    assert partition.kinds == ["customer.created", "custom_event.order.completed"]


def test_a_version_says_what_it_changed() -> None:
    partition = Partition()
    partition.tell(order(amount=10, note="x"))

    partition.tell(
        msgspec.structs.replace(order(amount=True, note="x"), goal_type="lead", occurred_at=NOON)
    )

    changes = codec.decode_object(partition.working.entries[-1].data)["changes"]
    assert changes == {
        "goal_type": {"old": None, "new": "lead"},
        "metadata.amount": {"old": 10, "new": True},
    }
    assert partition.row().version == 2 and partition.row().outcome == "replaced"


def test_a_deletion_keeps_the_content_and_says_when() -> None:
    partition = Partition()
    partition.tell(order(amount=10))

    partition.tell(msgspec.structs.replace(order(), metadata=codec.raw({}), deleted_at=NOON))

    row = partition.row()
    assert (row.outcome, row.deleted_at) == ("deleted", NOON)
    assert codec.decode_json(row.content.metadata) == {"amount": 10}
    changes = codec.decode_object(partition.working.entries[-1].data)["changes"]
    assert changes == {"deleted_at": {"old": None, "new": "2026-11-21T12:00:00Z"}}


def test_a_withdrawn_fact_keeps_the_outcome_of_its_last_version() -> None:
    partition = Partition()
    partition.tell(order())
    partition.tell(order())
    kim = "cust_" + "b" * 32

    partition.tell(EventWithdrawn(event_id=order().event_id, last_offset=1, held_by=kim))

    row = partition.row()
    assert row.withdrawn and row.outcome == "duplicate" and row.version == 2
    said = codec.decode_object(partition.working.entries[-1].data)
    assert (said["outcome"], said["held_by"]) == ("withdrawn", kim)


def test_a_fact_that_comes_back_starts_afresh() -> None:
    partition = Partition()
    partition.tell(order(amount=1))
    partition.tell(EventWithdrawn(event_id=order().event_id, last_offset=0, held_by="cust_b"))

    partition.tell(order(amount=2))

    row = partition.row()
    assert not row.withdrawn and (row.version, row.outcome) == (3, "applied")
    assert row.created_at == NOON + timedelta(seconds=2)
    assert "changes" not in codec.decode_object(partition.working.entries[-1].data)


def test_only_named_facts_are_claimed() -> None:
    partition = Partition()
    partition.tell(order(1))
    partition.tell(msgspec.structs.replace(order(2), identified="producer", external_id=None))
    partition.tell(msgspec.structs.replace(order(3), identified=None, external_id=None))
    partition.tell(order(1))

    claims = [claim for claims in partition.working.claims.values() for claim in claims]

    assert [(claim.owner.offset, claim.is_bare) for claim in claims] == [(0, False), (1, True)]


def test_a_seal_that_does_not_open_is_the_records_fault_and_a_lost_key_is_not() -> None:
    partition = Partition()
    broken, lost = Profile(sealed="broken"), Profile(sealed="lost", metadata=codec.raw({"a": 1}))
    partition.working.profiles = {(ALEX, "broken"): None}

    partition.tell(ProfileChanged(profile=lost))
    with pytest.raises(InvalidRecordError):
        partition.tell(ProfileChanged(profile=broken))

    assert partition.working.customers["demo", ALEX].profile.metadata == {}


def test_personal_properties_are_shown_with_the_others() -> None:
    partition = Partition()
    partition.working.properties = {(ALEX, "blob"): {"card": "4242"}}

    partition.tell(msgspec.structs.replace(order(amount=1), sealed="blob"))
    partition.tell(msgspec.structs.replace(order(2, amount=1), sealed="lost"))

    assert codec.decode_json(partition.row(1).content.metadata) == {"amount": 1, "card": "4242"}
    assert codec.decode_json(partition.row(2).content.metadata) == {"amount": 1}


def test_memory_is_bounded_by_the_customers_met_last() -> None:
    partition = Partition()
    for number in range(CUSTOMERS_MAX + 10):
        partition.tell(ProfileChanged(profile=knows()), customer=f"cust_{number:032x}")

    partition.working.end_batch()

    assert len(partition.working.customers) == CUSTOMERS_MAX
    assert partition.working.stored_customers == set(partition.working.customers)
    assert ("demo", f"cust_{9:032x}") not in partition.working.customers
    assert partition.working.entries == [] and partition.working.digests == {}


def test_unset_deletions_do_not_show() -> None:
    partition = Partition()

    partition.tell(msgspec.structs.replace(order(), deleted_at=UNSET))

    assert "deleted_at" not in codec.decode_object(partition.working.entries[-1].data)


def test_a_request_is_no_news_of_its_customer() -> None:
    partition = Partition()

    partition.tell(AdjustRequested(program="club", points=5, digest="d"))

    assert partition.working.entries == []
    assert partition.working.customers == {}
