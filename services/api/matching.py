"""Finding the route of a path, on the path as it was sent.

Guarantee: a segment is decoded after the path was split, so a name that itself has a slash is
reached both ways: as ``%2F`` in one segment, or bare where the path ends in ``{name*}``.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from services.api.routes import Method, Route
from services.runtime.problems import ProblemError, malformed, method_not_allowed, not_found

PATH_BYTES_MAX: Final = 4096
"""Longest path: two names of 300 characters, each spelled in escapes of twelve bytes at most."""


class Found(msgspec.Struct, frozen=True):
    """A route and the path's parameters."""

    route: Route
    path: Mapping[str, str]


class NotAllowedError(ProblemError):
    """The path exists, with other methods."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(method_not_allowed(allowed))
        self.allowed = allowed


class Matcher:
    """Finds routes: the first pattern that fits a path decides.

    Literal segments win over parameters, whole segments over ``{name*}``.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        by_path: dict[str, dict[Method, Route]] = {}
        for route in routes:
            methods = by_path.setdefault(route.path, {})
            assert route.method not in methods, f"{route.method} {route.path} stands twice"
            methods[route.method] = route
        self._patterns = sorted(
            ((tuple(path.split("/")[1:]), methods) for path, methods in by_path.items()),
            key=lambda each: _rank(each[0]),
        )

    def find(self, method: str, raw_path: bytes) -> Found:
        """Find the route; HEAD is answered as GET.

        Raises:
            ProblemError: 404, 405 (``NotAllowedError``), or 400 where a segment is not UTF-8.
        """
        if len(raw_path) > PATH_BYTES_MAX:
            raise ProblemError(not_found("No path of this API is so long."))
        segments = [_decoded(each) for each in raw_path.split(b"/")[1:]]
        wanted = "GET" if method == "HEAD" else method
        for pattern, methods in self._patterns:
            path = _fit(pattern, segments)
            if path is None:
                continue
            for known, route in methods.items():
                if known == wanted:
                    return Found(route, path)
            raise NotAllowedError(tuple(sorted({*methods, *_implied(methods)})))
        raise ProblemError(not_found("No such path."))


def _implied(methods: Mapping[Method, Route]) -> tuple[str, ...]:
    return ("HEAD",) if "GET" in methods else ()


def _rank(pattern: tuple[str, ...]) -> tuple[object, ...]:
    """Order: without a rest first, then segment by segment, literals before parameters."""
    has_rest = any(each.endswith("*}") for each in pattern)
    return (has_rest, -len(pattern), tuple(each.startswith("{") for each in pattern), pattern)


def _fit(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if len(segments) < len(pattern):
        return None
    path: dict[str, str] = {}
    at = 0
    for index, part in enumerate(pattern):
        taken = 1
        if part.endswith("*}"):
            taken = len(segments) - at - (len(pattern) - index - 1)
            path[part[1:-2]] = "/".join(segments[at : at + taken])
        elif part.startswith("{"):
            path[part[1:-1]] = segments[at]
        elif part != segments[at]:
            return None
        at += taken
    if at != len(segments) or not all(path.values()):
        return None
    return path


def _decoded(segment: bytes) -> str:
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProblemError(malformed("The path is not UTF-8.")) from error
    if "\0" in text:
        raise ProblemError(malformed("The path has U+0000."))
    return text
