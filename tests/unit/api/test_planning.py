"""What an apply would do, as a value."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from contracts.codec import Json, JsonObject
from contracts.definitions import parse_definition
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import RefusedError
from services.api.definitions.differences import Difference, differences
from services.api.definitions.planning import (
    BreaksOthersError,
    Submitted,
    check_delete,
    plan_apply,
)
from services.api.definitions.sealed_fields import digest_of, redacted
from services.api.definitions.standing import Key, Standing
from services.runtime.sealing import MasterKey

WORKSPACE = "demo"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
MASTER = MasterKey(b"m" * 32)
DIGEST = digest_of(MASTER, WORKSPACE, "x")


def _standing(*documents: tuple[str, str, JsonObject]) -> dict[Key, Standing]:
    return {
        (kind, name): Standing(
            kind=kind,
            name=name,
            revision=at,
            spec=spec,
            changed_at=datetime(2026, 1, 1, tzinfo=UTC),
            changed_by="key_1",
            definition=parse_definition(kind, name, spec),
        )
        for at, (kind, name, spec) in enumerate(documents, start=1)
    }


def _submitted(*documents: tuple[str, str, Json]) -> list[Submitted]:
    return [
        Submitted(kind=kind, name=name, spec=spec, pointer=f"/{at}")
        for at, (kind, name, spec) in enumerate(documents)
    ]


def _pointers(error: RefusedError | BreaksOthersError) -> list[str]:
    return [fault.pointer for fault in error.faults]


def test_what_is_referred_to_is_written_first() -> None:
    plan = plan_apply(
        WORKSPACE,
        _submitted(
            ("distribution", "d", {"on": {"event": "e"}, "endpoint": "x"}),
            ("endpoint", "x", {"url": "https://x.example/"}),
            ("event_type", "e", {}),
        ),
        {},
        MASTER,
        at=NOW,
    )

    assert [change.kind for change in plan.changes] == ["event_type", "distribution", "endpoint"]


def test_every_fault_of_every_document_is_listed() -> None:
    documents = _submitted(
        ("event_type", "e", {"properties": 1}),
        ("nonsense", "n", {}),
        ("endpoint", "Bad Name", {"url": "ftp://x"}),
        ("event_type", "ok", {}),
        ("event_type", "ok", {}),
    )

    with pytest.raises(RefusedError) as refused:
        plan_apply(WORKSPACE, documents, {}, MASTER, at=NOW)

    assert _pointers(refused.value) == [
        "/0/spec/properties",
        "/1/kind",
        "/2/name",
        "/2/spec/url",
        "/4/name",
    ]


def test_numbers_that_are_equal_are_no_difference() -> None:
    standing = _standing(("endpoint", "x", {"url": "https://x.example/", "concurrency": 5}))
    _, sealed = redacted("endpoint", {"url": "https://x.example/"}, None, "", DIGEST)
    assert sealed is not None and sealed.generated

    plan = plan_apply(
        WORKSPACE,
        _submitted(("event_type", "e", {"description": None})),
        standing,
        MASTER,
        at=NOW,
    )

    assert [change.spec for change in plan.changes] == [{}]


SHOP: JsonObject = {"url": "https://shop.example/in", "headers": {"X-Token": "hush"}}


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/in", "http://shop.example/in", "https://shop.example:8443/in"],
)
def test_a_header_that_is_kept_goes_to_its_own_origin_alone(url: str) -> None:
    stands, _ = redacted("endpoint", SHOP, None, "", DIGEST)

    with pytest.raises(RefusedError) as refused:
        redacted("endpoint", {**stands, "url": url}, stands, "/0/spec", DIGEST)
    moved, sealed = redacted("endpoint", {**SHOP, "url": url}, stands, "", DIGEST)

    assert [each.code for each in refused.value.faults] == ["secret-again"]
    assert _pointers(refused.value) == ["/0/spec/headers/X-Token"]
    assert (moved["headers"], sealed) == (stands["headers"], None)


def test_another_path_of_the_same_origin_keeps_what_stands() -> None:
    stands, _ = redacted("endpoint", SHOP, None, "", DIGEST)
    url = "https://SHOP.example:443/other"

    moved, sealed = redacted("endpoint", {**stands, "url": url}, stands, "", DIGEST)

    assert (moved, sealed) == ({**stands, "url": url}, None)


def test_a_digest_tells_nothing_without_the_key() -> None:
    digests = [
        digest_of(master, workspace, endpoint)(pointer, "hush")
        for master in (MASTER, MasterKey(b"n" * 32))
        for workspace, endpoint in ((WORKSPACE, "x"), (WORKSPACE, "y"), ("other", "x"))
        for pointer in ("/headers/A", "/headers/B")
    ]

    assert len(set(digests)) == len(digests)
    assert hashlib.sha256(b"hush").hexdigest() not in str(digests)
    assert digest_of(MASTER, WORKSPACE, "x")("/headers/A", "hush") == digests[0]


def test_a_deleted_definition_is_missed_by_who_uses_it() -> None:
    standing = _standing(
        ("event_type", "e", {}),
        ("distribution", "d", {"on": {"event": "e"}}),
    )

    with pytest.raises(BreaksOthersError) as broken:
        check_delete(WORKSPACE, ("event_type", "e"), standing)
    check_delete(WORKSPACE, ("distribution", "d"), standing)

    assert _pointers(broken.value) == ["/definitions/distribution/d/on/event"]


def test_refusing_unknown_event_types_is_refused_while_rules_rely_on_them() -> None:
    standing = _standing(
        ("workspace", WORKSPACE, {"unknown_event_types": "allow"}),
        ("distribution", "d", {"on": {"event": "never_defined"}}),
    )
    refuse: JsonObject = {"unknown_event_types": "refuse"}

    with pytest.raises(BreaksOthersError) as broken:
        plan_apply(
            WORKSPACE, _submitted(("workspace", WORKSPACE, refuse)), standing, MASTER, at=NOW
        )
    with pytest.raises(BreaksOthersError):
        check_delete(WORKSPACE, ("workspace", WORKSPACE), standing)

    assert _pointers(broken.value) == ["/definitions/distribution/d/on/event"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [Difference(pointer="/a", change="changed", old=1, new=True)]),
        (
            {"a": [1, 2]},
            {"a": [1, 3]},
            [Difference(pointer="/a/1", change="changed", old=2, new=3)],
        ),
        (
            {"a": [1]},
            {"a": []},
            [Difference(pointer="/a", change="changed", old=[1], new=[])],
        ),
        (
            {"a/b": 1},
            {"c": None},
            [
                Difference(pointer="/c", change="added", new=None),
                Difference(pointer="/a~1b", change="removed", old=1),
            ],
        ),
    ],
)
def test_differences_are_field_by_field(old: Json, new: Json, expected: list[Difference]) -> None:
    assert list(differences(old, new)) == expected


def test_a_new_test_clock_shows_the_present() -> None:
    plan = plan_apply(
        WORKSPACE,
        _submitted(("workspace", WORKSPACE, {"clock": "test"})),
        _standing(("workspace", WORKSPACE, {"timezone": "Europe/Warsaw"})),
        MASTER,
        at=NOW,
    )

    (change,) = plan.changes
    assert change.spec == {"clock": "test", "clock_at": "2026-11-21T09:30:00Z"}
    assert change.definition == WorkspaceSettings(clock="test", clock_at=NOW)


@pytest.mark.parametrize("more", [{}, {"clock_at": "2031-01-01T01:00:00+01:00"}])
def test_what_a_test_clock_shows_outlasts_an_apply(more: JsonObject) -> None:
    stood: JsonObject = {"clock": "test", "clock_at": "2031-01-01T00:00:00Z"}
    standing = _standing(("workspace", WORKSPACE, stood))
    same = _submitted(("workspace", WORKSPACE, {"clock": "test", **more}))
    changed: JsonObject = {"clock": "test", "unknown_event_types": "allow", **more}

    idle = plan_apply(WORKSPACE, same, standing, MASTER, at=NOW)
    plan = plan_apply(
        WORKSPACE, _submitted(("workspace", WORKSPACE, changed)), standing, MASTER, at=NOW
    )

    assert not idle.changes
    assert [each.key for each in idle.unchanged] == [("workspace", WORKSPACE)]
    assert plan.changes[0].spec == {**stood, "unknown_event_types": "allow"}


@pytest.mark.parametrize("stood", [{}, {"clock": "test", "clock_at": "2031-01-01T00:00:00Z"}])
def test_no_document_moves_a_test_clock(stood: JsonObject) -> None:
    moved: JsonObject = {"clock": "test", "clock_at": "2031-01-01T00:00:01Z"}

    with pytest.raises(RefusedError) as refused:
        plan_apply(
            WORKSPACE,
            _submitted(("workspace", WORKSPACE, moved)),
            _standing(("workspace", WORKSPACE, stood)),
            MASTER,
            at=NOW,
        )

    assert _pointers(refused.value) == ["/0/spec/clock_at"]
