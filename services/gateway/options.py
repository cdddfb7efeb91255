"""What a request asks for beside its body: query parameters and headers.

Guarantee: an option that is not understood is refused; none is passed over in silence.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Struct

from contracts.errors import Fault
from services.gateway.bounds import ID_CHARACTERS_MAX
from services.runtime import problems
from services.runtime.problems import ProblemError

Headers = Iterable[tuple[bytes, bytes]]

REVISION_MAX: Final = 2**53
_QUERY_FIELDS_MAX: Final = 32
_MEDIA_KEPT_MAX: Final = 64
"""Spellings of Content-Type remembered; an application has one."""
_ESCAPED: Final = re.compile(r'\\(["\\])')


class Options(Struct, frozen=True, kw_only=True):
    """``refused_only`` lists of a batch only what was refused."""

    dry_run: bool = False
    historical: bool = False
    refused_only: bool = False
    idempotency_key: str | None = None
    revision: int = 0


NONE: Final = Options()


def read_options(query: bytes, headers: Headers, allowed: frozenset[str]) -> Options:
    """Read a request's options.

    Args:
        query: the raw query string.
        headers: raw, names in lower case.
        allowed: names of the parameters that this path takes.

    Raises:
        ProblemError: 400 with the parameter or header.
    """
    asked = _query(query, allowed) if query else {}
    key: str | None = None
    revision = 0
    for name, value in headers:
        if name == b"idempotency-key":
            if key is not None:
                raise _refused("Idempotency-Key", "stands twice")
            key = idempotency_key(value)
        elif name == b"upshot-definitions-revision":
            revision = _revision(value)
    if not asked and key is None and not revision:
        return NONE
    return Options(
        dry_run=_flag(asked, "dry_run"),
        historical=_flag(asked, "historical"),
        refused_only=_results(asked),
        idempotency_key=key,
        revision=revision,
    )


def content_type_of(headers: Headers) -> str:
    """The media type of the body, lower-case, without parameters; "" where none is given.

    Raises:
        ProblemError: 415, a charset other than UTF-8.
    """
    for name, value in headers:
        if name == b"content-type":
            return _media_of(value)
    return ""


@lru_cache(maxsize=_MEDIA_KEPT_MAX)
def _media_of(value: bytes) -> str:
    media, _, parameters = value.decode("latin-1").lower().partition(";")
    charset = parameters.replace('"', "").replace(" ", "").partition("charset=")[2]
    if charset and charset.partition(";")[0] not in {"utf-8", "utf8"}:
        raise ProblemError(problems.unsupported_media("The charset must be UTF-8."))
    return media.strip()


def _query(query: bytes, allowed: frozenset[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode("latin-1"),
            keep_blank_values=True,
            max_num_fields=_QUERY_FIELDS_MAX,
            errors="strict",
        )
    except ValueError as error:
        raise _refused("query", "cannot be read") from error
    asked: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise _refused(name, "is not a parameter of this path")
        if name in asked:
            raise _refused(name, "stands twice")
        asked[name] = value
    return asked


def _flag(asked: dict[str, str], name: str) -> bool:
    match asked.get(name, "false"):
        case "true":
            return True
        case "false":
            return False
        case _:
            raise _refused(name, "is neither true nor false")


def _results(asked: dict[str, str]) -> bool:
    match asked.get("results", "all"):
        case "refused":
            return True
        case "all":
            return False
        case _:
            raise _refused("results", "is neither all nor refused")


def idempotency_key(value: bytes) -> str:
    """Read the key, quoted as RFC 8941 has it, or bare; raises ``ProblemError`` 400."""
    try:
        text = value.strip().decode()
    except UnicodeDecodeError as error:
        raise _refused("Idempotency-Key", "is not UTF-8") from error
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = _ESCAPED.sub(r"\1", text[1:-1])
    if not 1 <= len(text) <= ID_CHARACTERS_MAX:
        raise _refused("Idempotency-Key", f"is not 1 to {ID_CHARACTERS_MAX} characters long")
    return text


def _revision(value: bytes) -> int:
    text = value.strip()
    if not text.isdigit() or len(text) > len(str(REVISION_MAX)) or int(text) > REVISION_MAX:
        raise _refused("Upshot-Definitions-Revision", "is not a revision number")
    return int(text)


def _refused(name: str, detail: str) -> ProblemError:
    fault = Fault(pointer="", code="parameter", detail=f"{name} {detail}")
    return ProblemError(
        problems.malformed(f"{name} {detail}.", slug="request-invalid", errors=[fault])
    )
