"""Metric names carry their unit, and no label can grow without bound."""

from __future__ import annotations

from services.runtime import metrics

UNITS = ("_total", "_seconds", "_bytes", "_records", "_due")
LABELS = {"route", "status", "problem", "projection", "partition", "reason", "action", "outcome"}
OWN_OF_A_KIND = {"le"}


def test_every_name_of_ours_ends_in_its_unit() -> None:
    families = [family for family in metrics.REGISTRY.collect() if _ours(family.name)]
    named = [
        f"{family.name}_total" if family.type == "counter" else family.name for family in families
    ]

    assert named
    assert [name for name in named if not name.endswith(UNITS)] == []


def test_labels_come_from_a_short_list() -> None:
    labels = {
        label
        for family in metrics.REGISTRY.collect()
        if _ours(family.name)
        for sample in family.samples
        for label in sample.labels
    }

    assert labels - LABELS - OWN_OF_A_KIND == set()


def test_the_exposition_is_text_with_help() -> None:
    metrics.EVENTS_ACCEPTED.inc(0)

    assert b"# HELP upshot_events_accepted_total" in metrics.exposition()


def _ours(name: str) -> bool:
    return name.startswith("upshot_")
