"""Whatever is sent: an acceptance or faults, and the quick way agrees with the exact one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import encode
from services.gateway import batches
from services.gateway.admission import admit
from services.gateway.batches import Batch
from services.gateway.errors import RefusedEventError
from services.gateway.faults import event_faults
from services.gateway.pacing import Pace
from services.gateway.people import read_person
from services.gateway.strict_json import is_doubtful, read_strictly
from tests.support.gateway_events import definitions

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DEFINITIONS = definitions()
NONE: frozenset[str] = frozenset()
UNREADABLE = "unreadable"


def take_apart(body: bytes, media: str) -> Batch:
    return asyncio.run(batches.take_apart(body, media, Pace()))


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "\ud800", "2026-11-21T09:30:00Z", "a@b.c", "purchase"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = [
    "event", "customer", "metadata", "occurred_at", "id", "external_id", "goal_type", "goal_name",
    "goal_value", "deleted_at", "referral", "loyalty", "historical", "more",
]  # fmt: skip
customers = st.dictionaries(
    st.sampled_from(["id", "source_id", "email", "name", "address", "birthdate", "metadata"]),
    values,
    max_size=4,
)


def event_of(fields: dict[str, object], customer: object) -> dict[str, object]:
    return {"event": "signed_up", **fields, "customer": customer}


events: st.SearchStrategy[object] = st.dictionaries(
    st.sampled_from(FIELDS), values, max_size=5
) | st.builds(
    event_of,
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=3),
    customers | st.just({"source_id": "a"}),
)
some_batches: st.SearchStrategy[object] = st.lists(events, max_size=4) | values


def spelled(value: object, *, ascii_only: bool) -> bytes:
    """A value as JSON, as other libraries may spell it."""
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def refused_for(judge: Callable[[], object]) -> set[str] | None:
    """The codes of the faults that it refuses for; None where it refuses nothing."""
    try:
        judge()
    except RefusedEventError as refused:
        return {fault.code for fault in refused.faults}
    return None


@given(value=events | values, ascii_only=st.booleans())
def test_any_json_is_admitted_or_refused_with_faults(value: object, *, ascii_only: bool) -> None:
    text = spelled(value, ascii_only=ascii_only)

    def judge() -> None:
        event = admit(text, DEFINITIONS, NOW)
        read_person(bytes(event.body.customer), NONE)

    codes = refused_for(judge)

    if codes is None:
        assert event_faults(text, NOW) == ()
    else:
        assert codes
        assert UNREADABLE not in codes


@given(text=st.binary(max_size=200))
def test_any_bytes_are_refused_or_admitted(text: bytes) -> None:
    codes = refused_for(lambda: admit(text, DEFINITIONS, NOW))

    assert codes is None or UNREADABLE not in codes


@given(value=some_batches, ascii_only=st.booleans())
def test_any_batch_is_taken_apart_or_refused(value: object, *, ascii_only: bool) -> None:
    text = spelled(value, ascii_only=ascii_only)

    codes = refused_for(lambda: take_apart(text, "application/json"))

    assert codes is None or UNREADABLE not in codes


@given(value=st.lists(events, min_size=1, max_size=4), ascii_only=st.booleans())
def test_an_array_of_json_is_always_taken_apart(value: object, *, ascii_only: bool) -> None:
    text = spelled(value, ascii_only=True) if ascii_only else encodable(value)

    assert refused_for(lambda: take_apart(text, "application/json")) is None


def encodable(value: object) -> bytes:
    """A value as JSON in UTF-8, half surrogate pairs escaped as only they must be."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


pairs = st.lists(
    st.tuples(st.sampled_from(["a", "b", '"', "\\", "é"]), st.text(max_size=4) | st.integers()),
    max_size=4,
)


@given(pairs=pairs, escaped=st.booleans())
def test_a_duplicate_key_never_escapes_doubt(
    pairs: list[tuple[str, object]], *, escaped: bool
) -> None:
    members = [
        f"{json.dumps(key, ensure_ascii=escaped)}:{json.dumps(value, ensure_ascii=escaped)}"
        for key, value in pairs
    ]
    text = ("{" + ",".join(members) + "}").encode("utf-8", "surrogatepass")

    _, faults = read_strictly(text)

    has_duplicates = len({key for key, _ in pairs}) < len(pairs)
    assert has_duplicates == any(fault.code == "duplicate-key" for fault in faults)
    if has_duplicates:
        assert is_doubtful(text, encode(dict(pairs)))
