"""Versions resolve as the public surface says, for any history of one customer.

The oracle keeps every record it was told and reads the whole history again for each question. It
shares no code with what it judges: it knows the words of the API description only.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from contracts import codec
from contracts.events import CustomEvent, LoyaltyMention, Profile, ReferralMention
from contracts.identifiers import EventId, FactKey, event_id
from contracts.versions import Change, Fact, Stored, resolve, withdraw

START = datetime(2026, 11, 21, 9, tzinfo=UTC)
KEY = FactKey(b"k" * 16)
NAMED = event_id(KEY)


class Version(NamedTuple):
    """One record about the fact, in words of the test."""

    kind: Literal["version", "withdrawal"]
    occurred: int | None
    deletion: Literal["absent", "null"] | int
    metadata: str
    goal: str | None
    mention: str | None
    profile: bool
    back: int


class Verdict(NamedTuple):
    """What the oracle says of one record: its outcome, and what counts after it."""

    outcome: str
    counts: tuple[str, datetime, int] | None


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def content(version: Version) -> str:
    """The content, so written that equal content is equal text."""
    numbers_by_amount = json.loads(
        version.metadata, parse_int=_amount, parse_float=_amount, parse_constant=str
    )
    goal = None if version.goal is None else str(Fraction(version.goal))
    return json.dumps([numbers_by_amount, goal, version.mention], sort_keys=True)


def _amount(digits: str) -> dict[str, str]:
    return {"number": str(Fraction(digits))}


def judge(history: list[Version], identified: str | None) -> Verdict:
    """Read a history from its beginning and judge its last record.

    Record ``n`` was accepted at minute ``n``, stands at offset ``n`` under revision ``n``, and its
    place's logical time is the same minute.
    """
    verdict = Verdict("", None)
    standing: Standing | None = None
    for place, version in enumerate(history):
        outcome, standing = _step(standing, version, place, identified)
        counts = None
        if standing is not None and standing[3] is None:
            counts = (standing[0], standing[2], standing[4])
        verdict = Verdict(outcome, counts)
    return verdict


Standing = tuple[str, datetime, datetime, datetime | None, int, int]
"""Content, occurred, counted, deleted, revision of the first version, place of the last change."""


def _step(
    standing: Standing | None, version: Version, place: int, identified: str | None
) -> tuple[str, Standing | None]:
    if version.kind == "withdrawal":
        if standing is None or standing[5] > place - 1 - version.back:
            return "stale", standing
        return "withdrawn", None
    said = content(version)
    occurred = None if version.occurred is None else minute(version.occurred)
    if standing is None or identified is None:
        claimed = minute(place) if occurred is None else occurred
        deleted = minute(version.deletion) if isinstance(version.deletion, int) else None
        first = (said, claimed, min(claimed, minute(place)), deleted, place, place)
        return ("applied" if deleted is None else "deleted"), first
    if identified == "producer":
        return "duplicate", standing
    return _newer(standing, version, place)


def _newer(standing: Standing, version: Version, place: int) -> tuple[str, Standing]:
    said = content(version)
    occurred = None if version.occurred is None else minute(version.occurred)
    old_said, old_occurred, counted, old_deleted, revision, _ = standing
    if occurred is not None and occurred < old_occurred:
        return "stale", standing
    deleted = {"absent": old_deleted, "null": None}.get(str(version.deletion), old_deleted)
    if isinstance(version.deletion, int):
        deleted = minute(version.deletion)
    changed = "replaced" if deleted is None else "deleted"
    if occurred is None and deleted != old_deleted:
        return changed, (old_said, old_occurred, counted, deleted, revision, place)
    if said == old_said and deleted == old_deleted and occurred in (None, old_occurred):
        return "duplicate", standing
    if occurred is not None:
        old_occurred, counted = occurred, min(occurred, minute(place))
    return changed, (said, old_occurred, counted, deleted, revision, place)


def spoken(version: Version, identified: Literal["external", "producer"] | None) -> CustomEvent:
    """The version as a record says it."""
    deleted_at = UNSET
    if version.deletion == "null":
        deleted_at = None
    elif isinstance(version.deletion, int):
        deleted_at = minute(version.deletion)
    return CustomEvent(
        event="order.completed",
        event_id=NAMED,
        identified=identified,
        external_id="A" if identified == "external" else None,
        occurred_at=None if version.occurred is None else minute(version.occurred),
        deleted_at=deleted_at,
        metadata=msgspec.Raw(version.metadata.encode()),
        goal_type=None if version.goal is None else "purchase",
        goal_value=None if version.goal is None else Decimal(version.goal),
        referral=ReferralMention(code="R") if version.mention == "referral" else None,
        loyalty=LoyaltyMention(code="L") if version.mention == "loyalty" else None,
        profile=Profile(metadata=codec.raw({"VIP": True})) if version.profile else None,
    )


versions = st.builds(
    Version,
    kind=st.sampled_from(["version", "version", "version", "version", "withdrawal"]),
    occurred=st.none() | st.integers(-3, 6),
    deletion=st.sampled_from(["absent", "absent", "absent", "null", 1, 2]),
    metadata=st.sampled_from(['{"a":1}', '{"a":1.0}', '{"b":[1,2],"a":1}', '{"a":1,"b":[1,2.0]}']),
    goal=st.sampled_from([None, None, "10", "10.0", "-10"]),
    mention=st.sampled_from([None, None, "referral", "loyalty"]),
    profile=st.booleans(),
    back=st.integers(0, 2),
)
identifications = st.sampled_from(["external", "external", "external", "producer"])


def told(
    history: list[Version], identified: Literal["external", "producer"] | None
) -> list[Change]:
    """What the code makes of a history."""
    stored: Stored | None = None
    changes: list[Change] = []
    for place, version in enumerate(history):
        if version.kind == "withdrawal":
            change = withdraw(stored, NAMED, last_offset=place - 1 - version.back)
        else:
            change = resolve(
                None if identified is None else stored,
                spoken(version, identified),
                key=KEY,
                recorded_at=minute(place),
                at=minute(place),
                offset=place,
                revision=place,
            )
        stored = change.stored
        changes.append(change)
    return changes


@given(st.lists(versions, min_size=1, max_size=9), identifications)
def test_outcomes_are_those_of_the_public_surface(
    history: list[Version], identified: Literal["external", "producer"]
) -> None:
    found = [change.outcome for change in told(history, identified)]

    expected = [judge(history[: n + 1], identified).outcome for n in range(len(history))]

    assert found == expected


@given(st.lists(versions, min_size=1, max_size=9), identifications)
def test_what_stops_counting_is_what_counted_and_what_counts_is_what_stands(
    history: list[Version], identified: Literal["external", "producer"]
) -> None:
    counted: tuple[datetime, int] | None = None
    for place, change in enumerate(told(history, identified)):
        expected = judge(history[: place + 1], identified).counts
        if change.is_effective:
            before = None if change.before is None else _counts(change.before)
            assert before == counted
            counted = None if change.after is None else _counts(change.after)
        else:
            assert change.before is None and change.after is None
        assert counted == (None if expected is None else expected[1:])


@given(st.lists(versions, min_size=1, max_size=9))
def test_the_content_that_counts_is_that_of_the_standing_version(history: list[Version]) -> None:
    history = [version for version in history if version.kind == "version"]
    for place, change in enumerate(told(history, "external")):
        expected = judge(history[: place + 1], "external").counts
        if change.after is None or change.after.content is None or expected is None:
            continue
        said = change.after.content
        assert content(_as_version(said)) == expected[0]
        assert said.profile is None


@given(st.lists(versions, min_size=1, max_size=9))
def test_ordinals_grow_by_one_with_each_effective_version(history: list[Version]) -> None:
    ordinals = [
        change.stored.ordinal
        for change in told(history, "external")
        if change.is_effective and change.stored is not None
    ]

    assert ordinals == list(range(1, len(ordinals) + 1))


@given(versions, versions)
def test_what_the_producer_does_not_name_is_a_fact_each(one: Version, other: Version) -> None:
    history = [one._replace(kind="version"), other._replace(kind="version")]

    found = [change.outcome for change in told(history, None)]

    assert found == [judge([each], None).outcome for each in history]


def test_a_withdrawal_of_what_was_never_held_changes_nothing() -> None:
    change = withdraw(None, EventId(NAMED), last_offset=7)

    assert change.outcome == "stale" and change.stored is None and not change.is_effective


def _counts(fact: Fact) -> tuple[datetime, int]:
    return fact.occurred_at, fact.revision


def _as_version(said: CustomEvent) -> Version:
    mention = "referral" if said.referral else "loyalty" if said.loyalty else None
    goal = None if said.goal_value is None else str(said.goal_value)
    metadata = bytes(said.metadata).decode()
    return Version("version", None, "absent", metadata, goal, mention, profile=False, back=0)
