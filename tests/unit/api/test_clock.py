"""Where a test clock goes, and where it does not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from contracts.definitions.fields import read_document
from contracts.definitions.workspaces import WorkspaceSettings
from contracts.errors import RefusedError
from services.api.clock import ClockDocument, moved
from services.runtime.problems import ProblemError

SHOWN = datetime(2031, 3, 28, 12, tzinfo=UTC)
ON_TEST_CLOCK = WorkspaceSettings(clock="test", clock_at=SHOWN, timezone="Europe/Warsaw")


def _moved(spec: dict[str, object], settings: WorkspaceSettings = ON_TEST_CLOCK) -> datetime:
    return moved(settings, read_document(ClockDocument, spec, ""))


@pytest.mark.parametrize(
    ("spec", "to"),
    [
        ({"to": "2031-03-28T13:00:00.001+01:00"}, datetime(2031, 3, 28, 12, 0, 0, 1000, UTC)),
        ({"advance": "P3D"}, datetime(2031, 3, 31, 12, tzinfo=UTC)),
        ({"advance": "P1M"}, datetime(2031, 4, 28, 11, tzinfo=UTC)),
        ({"advance": "P10Y"}, datetime(2041, 3, 28, 12, tzinfo=UTC)),
        ({"advance": "PT1S", "to": None}, datetime(2031, 3, 28, 12, 0, 1, tzinfo=UTC)),
    ],
)
def test_a_test_clock_goes_forward(spec: dict[str, object], to: datetime) -> None:
    assert _moved(spec) == to


@pytest.mark.parametrize(
    ("spec", "slug"),
    [
        ({"to": "2031-03-28T12:00:00Z"}, "clock-not-forward"),
        ({"to": "2031-03-28T11:59:59Z"}, "clock-not-forward"),
        ({"to": "0001-01-01T00:00:00Z"}, "clock-not-forward"),
        ({"to": "2041-03-28T12:00:01Z"}, "clock-too-far"),
        ({"to": "9999-12-31T23:59:59Z"}, "clock-too-far"),
        ({"advance": "P10YT1S"}, "clock-too-far"),
        ({"advance": "P90Y"}, "clock-too-far"),
    ],
)
def test_a_move_back_or_too_far_is_refused(spec: dict[str, object], slug: str) -> None:
    with pytest.raises(ProblemError) as refused:
        _moved(spec)

    assert (refused.value.problem.status, refused.value.problem.slug) == (422, slug)


def test_a_clock_ends_before_what_rules_add_to_it_cannot_be_told() -> None:
    late = WorkspaceSettings(clock="test", clock_at=datetime(8999, 12, 31, tzinfo=UTC))

    assert _moved({"advance": "P1D"}, late).year == 9000
    with pytest.raises(ProblemError):
        _moved({"advance": "P2D"}, late)


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({}, ""),
        ({"to": "2032-01-01T00:00:00Z", "advance": "P1D"}, ""),
        ({"to": "2032-01-01"}, "/to"),
        ({"to": 5}, "/to"),
        ({"advance": "-P1D"}, "/advance"),
        ({"advance": "PT0S"}, "/advance"),
        ({"advance": 5}, "/advance"),
        ({"by": "P1D"}, "/by"),
    ],
)
def test_a_document_that_does_not_say_where_to_is_refused(
    spec: dict[str, object], pointer: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        _moved(spec)

    assert [fault.pointer for fault in refused.value.faults] == [pointer]


def test_nobody_moves_the_system_clock() -> None:
    with pytest.raises(ProblemError) as refused:
        _moved({"advance": "P1D"}, WorkspaceSettings())

    assert refused.value.problem.status == 409
