"""Query parameters and headers."""

from __future__ import annotations

import pytest

from services.gateway.options import content_type_of, read_options
from services.runtime.problems import ProblemError

ALL = frozenset({"dry_run", "historical", "results"})


@pytest.mark.parametrize(
    ("written", "key"),
    [
        (b"abc", "abc"),
        (b' "abc" ', "abc"),
        (b'"a\\"b\\\\c"', 'a"b\\c'),
        ("ключ".encode(), "ключ"),
        (b'"', '"'),
        (b"x" * 128, "x" * 128),
    ],
)
def test_an_idempotency_key_is_quoted_or_bare(written: bytes, key: str) -> None:
    options = read_options(b"", [(b"idempotency-key", written)], ALL)

    assert options.idempotency_key == key


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        (b"dry_run=maybe", []),
        (b"dry_run=true&dry_run=true", []),
        (b"results=some", []),
        (b"dryrun=true", []),
        (b"dry_run=%ff", []),
        (b"&".join([b"dry_run=true"] * 100), []),
        (b"", [(b"idempotency-key", b"")]),
        (b"", [(b"idempotency-key", b'""')]),
        (b"", [(b"idempotency-key", b"x" * 129)]),
        (b"", [(b"idempotency-key", b"\xff")]),
        (b"", [(b"idempotency-key", b"a"), (b"idempotency-key", b"b")]),
        (b"", [(b"upshot-definitions-revision", b"-1")]),
        (b"", [(b"upshot-definitions-revision", b"latest")]),
        (b"", [(b"upshot-definitions-revision", b"9" * 30)]),
    ],
)
def test_an_option_that_is_not_understood_is_refused(
    query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(ProblemError) as caught:
        read_options(query, headers, ALL)

    assert caught.value.problem.status == 400


def test_options_are_read() -> None:
    headers = [(b"upshot-definitions-revision", b"12")]

    options = read_options(b"dry_run=true&historical=true&results=refused", headers, ALL)

    assert (options.dry_run, options.historical, options.refused_only) == (True, True, True)
    assert options.revision == 12


@pytest.mark.parametrize(
    ("written", "media"),
    [
        (b"application/json", "application/json"),
        (b'Application/JSON; charset="UTF-8"', "application/json"),
        (b"application/x-ndjson;charset=utf-8", "application/x-ndjson"),
    ],
)
def test_a_media_type_is_read_without_its_parameters(written: bytes, media: str) -> None:
    assert content_type_of([(b"content-type", written)]) == media


def test_another_charset_is_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        content_type_of([(b"content-type", b"application/json; charset=latin1")])

    assert caught.value.problem.status == 415
