"""The catalogue answers what was in force at any revision."""

import pytest

from contracts.definitions.catalogue import SNAPSHOTS_MAX, Catalogue
from contracts.errors import RefusedError, RevisionAheadError

ON = {"event": "e"}


def program(points: int) -> object:
    return {"earning_rules": [{"id": "r", "on": ON, "points": points}]}


def points_at(catalogue: Catalogue, revision: int) -> int | None:
    found = catalogue.at("demo", revision).loyalty_programs.get("main")
    return None if found is None else found.rules[0].points


def test_every_revision_stays_reachable() -> None:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "event_type", "e", {})
    catalogue.apply("demo", 2, "loyalty_program", "main", program(10))
    catalogue.apply("demo", 3, "loyalty_program", "main", program(20))
    catalogue.apply("demo", 4, "loyalty_program", "main", None)
    catalogue.apply("demo", 5, "loyalty_program", "main", program(30))

    assert [points_at(catalogue, revision) for revision in range(6)] == [
        None, None, 10, 20, None, 30,
    ]  # fmt: skip
    assert catalogue.latest("demo").revision == 5


def test_snapshots_share_what_did_not_change() -> None:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "event_type", "e", {})
    catalogue.apply("demo", 2, "loyalty_program", "main", program(10))
    catalogue.apply("demo", 3, "loyalty_program", "main", program(20))

    older, newer = catalogue.at("demo", 2), catalogue.at("demo", 3)

    assert older.event_types is newer.event_types
    assert catalogue.at("demo", 3) is newer


def test_one_revision_may_change_several_definitions() -> None:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "event_type", "e", {})
    first = catalogue.latest("demo")
    catalogue.apply("demo", 1, "endpoint", "hook", {"url": "https://a.b"})
    catalogue.apply("demo", 1, "distribution", "d", {"on": ON, "endpoint": "hook"})

    assert first.endpoints == {}
    assert set(catalogue.latest("demo").endpoints) == {"hook"}
    assert set(catalogue.latest("demo").distributions) == {"d"}


def test_a_record_that_comes_again_changes_nothing() -> None:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "loyalty_program", "main", program(10))
    catalogue.apply("demo", 2, "loyalty_program", "main", program(20))
    catalogue.apply("demo", 1, "loyalty_program", "main", program(10))

    assert catalogue.latest_revision("demo") == 2
    assert points_at(catalogue, 2) == 20


def test_workspaces_know_nothing_of_each_other() -> None:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "loyalty_program", "main", program(10))
    catalogue.apply("demo", 2, "workspace", "demo", {"unknown_event_types": "allow"})

    assert catalogue.latest("other").revision == 0
    assert catalogue.latest("other").loyalty_programs == {}
    assert catalogue.latest("other").workspace_settings.unknown_event_types == "refuse"
    assert catalogue.latest("demo").workspace_settings.unknown_event_types == "allow"
    assert catalogue.workspaces() == {"demo"}


def test_a_revision_not_read_yet_is_no_revision() -> None:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "event_type", "e", {})

    with pytest.raises(RevisionAheadError) as ahead:
        catalogue.at("demo", 2)

    assert (ahead.value.revision, ahead.value.known) == (2, 1)


def test_a_refused_record_changes_nothing() -> None:
    catalogue = Catalogue()
    catalogue.apply("demo", 1, "event_type", "e", {})

    with pytest.raises(RefusedError):
        catalogue.apply("demo", 2, "loyalty_program", "main", {"zz": 1})

    assert catalogue.latest_revision("demo") == 1


def test_old_snapshots_are_made_again_when_they_were_let_go() -> None:
    catalogue = Catalogue()
    last = SNAPSHOTS_MAX * 2
    for revision in range(1, last + 1):
        catalogue.apply("demo", revision, "loyalty_program", "main", program(revision))

    assert [points_at(catalogue, revision) for revision in range(1, last + 1)] == list(
        range(1, last + 1)
    )
    assert points_at(catalogue, 1) == 1
