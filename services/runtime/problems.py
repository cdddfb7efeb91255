"""Problem documents (RFC 9457): the one form in which every process refuses.

Guarantee: whatever a problem quotes, it can be encoded; each document carries the fields of
RFC 9457 and, with the same meaning, those of Voucherify's error object, so that clients of either
understand it; every answer has X-Request-Id.
"""

from collections.abc import Iterable
from http import HTTPStatus

import msgspec
from starlette.responses import Response
from uuid_utils import uuid7

from contracts.errors import Fault, RefusedError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:upshot:problem:"
REQUEST_ID_HEADER = "x-request-id"
RETRY_SECONDS = 1
"""How soon an unavailable service is worth another try."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request, or one item of it, was refused.

    ``slug`` is stable and kebab-case; ``title`` belongs to the slug, ``detail`` to this case.
    """

    slug: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()
    retry_after_seconds: int | None = None


class ProblemError(Exception):
    """A request is refused with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.slug}: {problem.detail}")
        self.problem: Problem = problem


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A problem as it stands on the wire; the second half repeats it in Voucherify's words."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...]
    code: int
    key: str
    message: str
    details: str
    request_id: str


_encoder = msgspec.json.Encoder()


def new_request_id() -> str:
    """Draw the id of one request."""
    return f"req_{uuid7().hex}"


def presentable(text: str) -> str:
    """The text with a question mark for each lone surrogate, which UTF-8 has no form for."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def document(problem: Problem, request_id: str) -> ProblemDocument:
    """Spell out a problem for the wire."""
    detail = presentable(problem.detail)
    return ProblemDocument(
        type=TYPE_PREFIX + problem.slug,
        title=problem.title,
        status=problem.status,
        detail=detail,
        errors=tuple(_presentable_fault(fault) for fault in problem.errors),
        code=problem.status,
        key=problem.slug.replace("-", "_"),
        message=problem.title,
        details=detail,
        request_id=request_id,
    )


def _presentable_fault(fault: Fault) -> Fault:
    if fault.pointer.isascii() and fault.detail.isascii():
        return fault
    return Fault(
        pointer=presentable(fault.pointer), code=fault.code, detail=presentable(fault.detail)
    )


def encode(problem: Problem, request_id: str) -> bytes:
    """Encode a problem as ``application/problem+json``."""
    return _encoder.encode(document(problem, request_id))


def problem_headers(problem: Problem, request_id: str) -> dict[str, str]:
    """Headers of a refusal besides its content type and length."""
    headers = {REQUEST_ID_HEADER: request_id}
    if problem.retry_after_seconds is not None:
        headers["retry-after"] = str(problem.retry_after_seconds)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="upshot"'
    return headers


def problem_response(
    problem: Problem, request_id: str, headers: dict[str, str] | None = None
) -> Response:
    """Answer a request with a problem; ``headers`` are added (for example Allow)."""
    return Response(
        encode(problem, request_id),
        status_code=problem.status,
        headers=problem_headers(problem, request_id) | (headers or {}),
        media_type=MEDIA_TYPE,
    )


def malformed(detail: str, *, slug: str = "malformed", errors: Iterable[Fault] = ()) -> Problem:
    """400: the request cannot be read, or its schema refuses it."""
    return Problem(
        slug=slug,
        title="The request is malformed",
        status=400,
        detail=detail,
        errors=tuple(errors),
    )


def refused(error: RefusedError, *, slug: str = "invalid", title: str = "Refused") -> Problem:
    """400 with every fault of a refusal; the detail is the first one's."""
    first, count = error.faults[0], len(error.faults)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return Problem(
        slug=slug,
        title=title,
        status=400,
        detail=f"{first.pointer or 'What was sent'} {first.detail}{more}",
        errors=error.faults,
    )


def unauthorized(detail: str = "No key was given, or it is not known.") -> Problem:
    """401: no key, an unknown, expired or revoked one."""
    return Problem(slug="unauthorized", title="A valid key is needed", status=401, detail=detail)


def forbidden(scope: str) -> Problem:
    """403 naming the scope that the key lacks."""
    return Problem(
        slug="forbidden",
        title="The key lacks a scope",
        status=403,
        detail=f"This needs the scope {scope}.",
    )


def not_found(detail: str, *, slug: str = "not-found", errors: Iterable[Fault] = ()) -> Problem:
    """404: it does not exist, or not in the key's workspace."""
    return Problem(slug=slug, title="Not found", status=404, detail=detail, errors=tuple(errors))


def method_not_allowed(allowed: Iterable[str]) -> Problem:
    """405; send it with an ``Allow`` header too."""
    return Problem(
        slug="method-not-allowed",
        title="Method not allowed",
        status=405,
        detail=f"Allowed here: {', '.join(allowed)}.",
    )


def request_timeout(detail: str) -> Problem:
    """408: the request was not sent within its deadline."""
    return Problem(
        slug="request-timeout", title="The request took too long", status=408, detail=detail
    )


def conflict(detail: str, *, slug: str = "conflict", errors: Iterable[Fault] = ()) -> Problem:
    """409: it contradicts what stands."""
    return Problem(slug=slug, title="Conflict", status=409, detail=detail, errors=tuple(errors))


def too_large(limit_bytes: int) -> Problem:
    """413: the body (or what it unpacks to) is larger than this path takes."""
    return Problem(
        slug="too-large",
        title="The body is too large",
        status=413,
        detail=f"At most {limit_bytes} bytes are taken here.",
    )


def unsupported_media(detail: str) -> Problem:
    """415: the content type or encoding is not one of those taken here."""
    return Problem(
        slug="unsupported-media-type",
        title="Unsupported media type",
        status=415,
        detail=detail,
    )


def forbidden_by_rule(
    detail: str, *, slug: str = "unprocessable", errors: Iterable[Fault] = ()
) -> Problem:
    """422: well-formed, but a rule forbids it."""
    return Problem(
        slug=slug, title="A rule forbids it", status=422, detail=detail, errors=tuple(errors)
    )


def rate_limited(
    detail: str,
    *,
    slug: str = "too-many-requests",
    retry_after_seconds: int = RETRY_SECONDS,
) -> Problem:
    """429: more than is taken at present."""
    return Problem(
        slug=slug,
        title="Too many requests",
        status=429,
        detail=detail,
        retry_after_seconds=retry_after_seconds,
    )


def unavailable(
    detail: str, *, slug: str = "unavailable", retry_after_seconds: int = RETRY_SECONDS
) -> Problem:
    """503: something this needs does not answer; nothing happened."""
    return Problem(
        slug=slug,
        title="Unavailable for the moment",
        status=503,
        detail=detail,
        retry_after_seconds=retry_after_seconds,
    )


def outcome_unknown(
    detail: str = "The log did not acknowledge in time. Sending the same id again is safe.",
    *,
    retry_after_seconds: int = RETRY_SECONDS,
) -> Problem:
    """503: it may or may not have happened."""
    return Problem(
        slug="outcome-unknown",
        title="The outcome is unknown",
        status=503,
        detail=detail,
        retry_after_seconds=retry_after_seconds,
    )
