"""Versions, sentence by sentence of the API description; the laws are in tests/properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET

from contracts import codec
from contracts.events import CustomEvent
from contracts.identifiers import FactKey, event_id
from contracts.versions import Change, Stored, resolve, same_content, withdraw

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = FactKey(b"k" * 16)


def order(amount: int = 10, **given: object) -> CustomEvent:
    event = CustomEvent(
        event="order.completed",
        event_id=event_id(KEY),
        identified="external",
        external_id="order_1",
        metadata=codec.raw({"amount": amount}),
    )
    return msgspec.structs.replace(event, **given)


def meet(stored: Stored | None, event: CustomEvent, *, offset: int = 1) -> Change:
    at = NOON + offset * timedelta(minutes=1)
    return resolve(stored, event, key=KEY, recorded_at=at, at=at, offset=offset, revision=offset)


def standing(event: CustomEvent) -> Stored:
    stored = meet(None, event).stored
    assert stored is not None
    return stored


def test_an_older_version_is_stale() -> None:
    change = meet(standing(order(occurred_at=NOON)), order(20, occurred_at=NOON - HOUR), offset=2)

    assert change.outcome == "stale" and not change.is_effective


def test_the_same_again_is_a_duplicate_whatever_the_order_of_keys() -> None:
    one = order(occurred_at=NOON, metadata=msgspec.Raw(b'{"a":1,"b":2}'))
    other = order(occurred_at=NOON, metadata=msgspec.Raw(b'{"b":2.0,"a":1}'))

    assert meet(standing(one), other, offset=2).outcome == "duplicate"


def test_the_same_content_at_a_newer_time_replaces() -> None:
    change = meet(standing(order(occurred_at=NOON - HOUR)), order(occurred_at=NOON), offset=2)

    assert change.outcome == "replaced"
    assert change.before is not None and change.before.occurred_at == NOON - HOUR
    assert change.after is not None and change.after.occurred_at == NOON


def test_a_replacement_without_a_time_keeps_the_time_and_where_it_counts() -> None:
    ahead = NOON + HOUR
    first = standing(order(occurred_at=ahead))

    change = meet(first, order(20), offset=2)

    assert change.outcome == "replaced"
    assert change.stored is not None
    assert change.stored.occurred_at == ahead
    assert change.stored.counted_at == first.counted_at == NOON + timedelta(minutes=1)


def test_a_deletion_without_a_time_leaves_the_content_alone() -> None:
    change = meet(standing(order(10, occurred_at=NOON)), order(99, deleted_at=NOON), offset=2)

    assert change.outcome == "deleted" and change.after is None
    assert change.stored is not None and change.stored.content is not None
    assert b'"amount":10' in change.stored.content


def test_null_restores_what_was_deleted() -> None:
    deleted = meet(standing(order(occurred_at=NOON)), order(deleted_at=NOON), offset=2).stored

    change = meet(deleted, order(deleted_at=None), offset=3)

    assert change.outcome == "replaced" and change.before is None
    assert change.after is not None and change.after.content is not None


def test_deleting_what_is_not_stored_records_it_deleted() -> None:
    change = meet(None, order(deleted_at=NOON))

    assert change.outcome == "deleted" and change.after is None and change.stored is not None


def test_two_deletions_at_one_instant_are_one() -> None:
    deleted = standing(order(occurred_at=NOON, deleted_at=NOON))
    elsewhere = datetime.fromisoformat("2026-11-21T13:00:00+01:00")

    assert meet(deleted, order(deleted_at=elsewhere), offset=2).outcome == "duplicate"
    assert meet(deleted, order(deleted_at=NOON + HOUR), offset=2).outcome == "deleted"


def test_a_bare_id_has_one_version_only() -> None:
    bare = order(identified="producer", external_id=None)
    first = standing(bare)

    change = meet(first, msgspec.structs.replace(bare, occurred_at=NOON + HOUR), offset=2)

    assert change.outcome == "duplicate" and first.content is None


def test_every_version_is_judged_by_the_revision_of_the_first() -> None:
    change = meet(standing(order(occurred_at=NOON)), order(20, occurred_at=NOON), offset=2)

    assert change.after is not None and change.after.revision == 1


def test_no_event_counts_later_than_its_place() -> None:
    change = meet(None, order(occurred_at=NOON + HOUR))

    assert change.after is not None and change.after.occurred_at == NOON + timedelta(minutes=1)
    assert change.stored is not None and change.stored.occurred_at == NOON + HOUR


def test_a_withdrawal_takes_what_stands_up_to_its_offset() -> None:
    first = standing(order(occurred_at=NOON))

    taken = withdraw(first, event_id(KEY), last_offset=1)
    kept = withdraw(first, event_id(KEY), last_offset=0)

    assert taken.outcome == "withdrawn" and taken.before is not None and taken.after is None
    assert kept.outcome == "stale" and kept.stored is first


def test_who_lost_a_fact_starts_afresh_with_it() -> None:
    lost = withdraw(standing(order(occurred_at=NOON)), event_id(KEY), last_offset=1).stored

    change = meet(lost, order(occurred_at=NOON - HOUR), offset=5)

    assert change.outcome == "applied" and change.before is None
    assert change.after is not None and change.after.revision == 5


def test_profiles_do_not_count_as_content() -> None:
    assert same_content(order(), order(profile=None, deleted_at=UNSET))
    assert not same_content(order(10), order(11))
    assert not same_content(order(), order(sealed="blob"))


def test_true_and_one_are_different_content() -> None:
    one, other = (
        CustomEvent(event="e", event_id="event_" + "0" * 32, metadata=codec.raw({"vip": value}))
        for value in (True, 1)
    )

    assert not same_content(one, other)
