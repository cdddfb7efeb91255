"""Finding routes on the path as it was sent."""

from __future__ import annotations

import pytest

from services.api.matching import Matcher, NotAllowedError
from services.api.routes import Answers, Method, Route
from services.runtime.problems import ProblemError


def _route(method: Method, path: str) -> Route:
    return Route(method=method, path=path, tag="t", summary="s", answers=Answers(description="d"))


MATCHER = Matcher(
    [
        _route("GET", "/v1/definitions/{kind}"),
        _route("GET", "/v1/definitions/{kind}/{name*}"),
        _route("PUT", "/v1/definitions/{kind}/{name*}"),
        _route("GET", "/v1/definitions/{kind}/{name*}/revisions"),
        _route("GET", "/v1/deliveries/{delivery}"),
        _route("POST", "/v1/deliveries/redrive"),
    ]
)


@pytest.mark.parametrize(
    ("path", "pattern", "values"),
    [
        (b"/v1/definitions/endpoint", "{kind}", {"kind": "endpoint"}),
        (b"/v1/definitions/a/b", "{kind}/{name*}", {"kind": "a", "name": "b"}),
        (b"/v1/definitions/a/b/c", "{kind}/{name*}", {"kind": "a", "name": "b/c"}),
        (b"/v1/definitions/a/b%2Fc", "{kind}/{name*}", {"kind": "a", "name": "b/c"}),
        (b"/v1/definitions/a/b/revisions", "{kind}/{name*}/revisions", {"kind": "a", "name": "b"}),
        (
            b"/v1/definitions/a/b%2Frevisions",
            "{kind}/{name*}",
            {"kind": "a", "name": "b/revisions"},
        ),
        (
            b"/v1/definitions/a/b/c/revisions",
            "{kind}/{name*}/revisions",
            {"kind": "a", "name": "b/c"},
        ),
        (b"/v1/definitions/a/revisions", "{kind}/{name*}", {"kind": "a", "name": "revisions"}),
        (b"/v1/definitions/a/%C3%A9%20x", "{kind}/{name*}", {"kind": "a", "name": "é x"}),
    ],
)
def test_a_path_finds_its_route(path: bytes, pattern: str, values: dict[str, str]) -> None:
    found = MATCHER.find("GET", path)

    assert found.route.path == f"/v1/definitions/{pattern}"
    assert found.path == values


def test_head_is_answered_as_get() -> None:
    assert MATCHER.find("HEAD", b"/v1/definitions/a").route.method == "GET"


def test_a_literal_segment_wins_over_a_parameter() -> None:
    assert MATCHER.find("POST", b"/v1/deliveries/redrive").route.path == "/v1/deliveries/redrive"
    with pytest.raises(NotAllowedError) as refused:
        MATCHER.find("GET", b"/v1/deliveries/redrive")

    assert refused.value.allowed == ("POST",)


@pytest.mark.parametrize("path", [b"/", b"", b"/v1", b"/v1/definitions/", b"/v1/definitions//x"])
def test_no_route_is_404(path: bytes) -> None:
    with pytest.raises(ProblemError) as refused:
        MATCHER.find("GET", path)

    assert refused.value.problem.status == 404


@pytest.mark.parametrize("path", [b"/v1/definitions/%ff", b"/v1/definitions/%00"])
def test_what_is_no_text_is_400(path: bytes) -> None:
    with pytest.raises(ProblemError) as refused:
        MATCHER.find("GET", path)

    assert refused.value.problem.status == 400


def test_another_method_is_405_with_those_allowed() -> None:
    with pytest.raises(NotAllowedError) as refused:
        MATCHER.find("DELETE", b"/v1/definitions/a/b")

    assert refused.value.allowed == ("GET", "HEAD", "PUT")
