"""Checking parameters against a route's table."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from contracts.errors import RefusedError
from services.api.call import CURSOR, LIMIT, read_cursor, write_cursor
from services.api.parameters import read_parameters
from services.api.routes import Answers, Param, Route

ROUTE = Route(
    method="GET",
    path="/v1/things",
    tag="t",
    summary="s",
    answers=Answers(description="d"),
    query=(
        LIMIT,
        CURSOR,
        Param(name="dry_run", description="", form="boolean"),
        Param(name="from", description="", form="time"),
        Param(name="kind", description="", choices=("a", "b"), required=True),
    ),
    headers=(Param(name="Upshot-Wait-For", description="", repeated=True),),
)


def test_parameters_are_typed() -> None:
    query = b"limit=7&dry_run=true&from=2026-11-21T09:30:00%2B01:00&kind=a"
    headers = [(b"upshot-wait-for", b"a/0/1, b/0/2"), (b"upshot-wait-for", b"c/0/3")]

    assert read_parameters(ROUTE, query, headers) == {
        "limit": 7,
        "dry_run": True,
        "from": datetime(2026, 11, 21, 8, 30, tzinfo=UTC),
        "kind": "a",
        "Upshot-Wait-For": ("a/0/1", "b/0/2", "c/0/3"),
    }


def test_a_blank_cursor_is_the_first_page() -> None:
    assert read_parameters(ROUTE, b"kind=a&cursor=", []) == {"kind": "a"}


def test_a_bare_plus_in_a_time_is_read_as_one() -> None:
    found = read_parameters(ROUTE, b"kind=a&from=2026-11-21T09:30:00+01:00", [])

    assert found["from"] == datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        (b"", ["/query/kind"]),
        (b"kind=c", ["/query/kind"]),
        (b"kind=a&kind=b", ["/query/kind"]),
        (b"kind=a&limit=0", ["/query/limit"]),
        (b"kind=a&limit=501", ["/query/limit"]),
        (b"kind=a&limit=1e2", ["/query/limit"]),
        (b"kind=a&limit=", ["/query/limit"]),
        (b"kind=a&limit=" + b"9" * 5000, ["/query/limit"]),
        (b"kind=a&dry_run=1&colour=red", ["/query/colour", "/query/dry_run"]),
        (b"kind=a&from=2026-11-21T09:30:00", ["/query/from"]),
        (b"kind=a&from=tomorrow", ["/query/from"]),
        (b"kind=a&from=2026-11-21", ["/query/from"]),
        (b"kind=a&cursor=" + b"x" * 5000, ["/query/cursor"]),
        (b"kind=%00", ["/query/kind"]),
        (b"kind=%ff", ["/query"]),
        (b"a=" + b"&a=" * 200, ["/query"]),
    ],
)
def test_faults_are_named_by_their_parameter(query: bytes, pointers: list[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        read_parameters(ROUTE, query, [])

    assert [fault.pointer for fault in refused.value.faults] == pointers


def test_a_cursor_reads_back() -> None:
    assert read_cursor(write_cursor("é/x", 7), str, int) == ("é/x", 7)


@pytest.mark.parametrize("text", ["", "é", "!", "e30", "WzFd", write_cursor(1), write_cursor("\0")])
def test_a_cursor_of_another_list_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        read_cursor(text, str)
