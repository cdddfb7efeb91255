"""``endpoint``: a URL that webhooks go to.

The secret and the header values are write-only: ``redact`` takes them out, and what is stored, sent
over the log and answered carries ``blake2b:<hex>`` in their place: a digest under a key of the
installation, so that nobody finds a value by guessing. A document that brings such a digest back
means the value it stands for, so an endpoint that was read can be written again.
Only the form of the URL is checked here; the address is checked at the socket.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from contracts.definitions.fields import Document, PositiveDecimal, read_document
from contracts.errors import pointer_to

URL_CHARACTERS_MAX: Final = 2048  # what servers and proxies take
HEADERS_MAX: Final = 20  # headers of one endpoint
HEADER_CHARACTERS_MAX: Final = 2000  # of one value; four fit in a usual server's 8 KiB
CONCURRENCY_DEFAULT: Final = 10  # attempts at once
CONCURRENCY_MAX: Final = 100  # attempts at once; one endpoint may not take all senders
RATE_MAX: Final = 10_000  # attempts a second
SECRET_BYTES_MIN: Final = 24  # Standard Webhooks 1.0
SECRET_BYTES_MAX: Final = 64  # Standard Webhooks 1.0

Digest = Callable[[str, str], str]
"""Says ``blake2b:<hex>`` of what stands at a pointer, and of the value."""

_DIGEST: Final = re.compile(r"(?:blake2b|sha256):[0-9a-f]{64}")  # sha256 of earlier versions
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_RESERVED: Final = frozenset({
    "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_RESERVED_PREFIX: Final = "webhook-"
_URL_CHARACTERS: Final = re.compile(r"[\x21-\x7e]+")


def _url(value: object) -> str:
    """An absolute http or https URL, in ASCII, with a host, without user or fragment."""
    if not isinstance(value, str):
        raise PydanticCustomError("type", "is not a string")
    if len(value) > URL_CHARACTERS_MAX or _URL_CHARACTERS.fullmatch(value) is None:
        raise PydanticCustomError("url", "is not a URL of printable ASCII characters")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise PydanticCustomError("url", "is not a URL") from error
    if parts.scheme not in ("http", "https"):
        raise PydanticCustomError("url", "is not an http or https URL")
    if "@" in parts.netloc:
        raise PydanticCustomError("url", "carries a user; use headers for credentials")
    if not host or port == 0 or "\\" in value:
        raise PydanticCustomError("url", "has no host")
    if parts.fragment or value.endswith("#"):
        raise PydanticCustomError("url", "has a fragment, which is never sent")
    return value


def _secret(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("type", "is not a string")
    if _DIGEST.fullmatch(value):
        return value
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PydanticCustomError("secret", "is not whsec_ and base64") from error
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise PydanticCustomError(
            "secret",
            "is not of {least} to {most} bytes",
            {"least": SECRET_BYTES_MIN, "most": SECRET_BYTES_MAX},
        )
    return value


def _header_value(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("type", "is not a string")
    if len(value) > HEADER_CHARACTERS_MAX or _HEADER_VALUE.fullmatch(value) is None:
        raise PydanticCustomError("header", "is not a value of printable ASCII characters")
    return value


def _header_name(value: str) -> str:
    lowered = value.lower()
    if _HEADER_NAME.fullmatch(value) is None:
        raise PydanticCustomError("header", "is no header name")
    if lowered in _RESERVED or lowered.startswith(_RESERVED_PREFIX):
        raise PydanticCustomError("header", "is set by the sender")
    return value


def _named_once(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise PydanticCustomError("duplicate", "names a header twice")
    return headers


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, BeforeValidator(_header_value)]


class EndpointDocument(Document):
    """The document as ``PUT /v1/definitions/endpoint/{name}`` takes it."""

    url: Annotated[str, BeforeValidator(_url)]
    headers: Annotated[dict[HeaderName, HeaderValue], AfterValidator(_named_once)] = Field(
        default_factory=dict, max_length=HEADERS_MAX
    )
    secret: Annotated[str, BeforeValidator(_secret)] | None = None
    concurrency: int = Field(default=CONCURRENCY_DEFAULT, ge=1, le=CONCURRENCY_MAX)
    rate_per_second: PositiveDecimal | None = Field(default=None, le=RATE_MAX)
    ordered: bool = True


class Endpoint(Struct, frozen=True, kw_only=True):
    """An endpoint as the dispatcher uses it; secrets are known by digest only, else blank.

    ``rate_per_second`` is None where there is no limit.
    """

    name: str
    url: str
    header_digests: Mapping[str, str]
    secret_digest: str | None
    concurrency: int
    rate_per_second: Decimal | None
    ordered: bool


class EndpointSecrets(Struct, frozen=True, kw_only=True):
    """What ``redact`` took out in clear; values that came as digests are not among it."""

    secret: str | None
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "EndpointSecrets(…)"


def parse_endpoint(name: str, spec: object, pointer: str = "") -> Endpoint:
    """Read an endpoint, redacted or not.

    Raises:
        RefusedError: with every fault.
    """
    document = read_document(EndpointDocument, spec, pointer)
    return Endpoint(
        name=name,
        url=document.url,
        header_digests={key: _digest_in(value) for key, value in document.headers.items()},
        secret_digest=None if document.secret is None else _digest_in(document.secret),
        concurrency=document.concurrency,
        rate_per_second=document.rate_per_second,
        ordered=document.ordered,
    )


def redact(spec: Mapping[str, object], digest: Digest) -> tuple[dict[str, object], EndpointSecrets]:
    """The spec with digests in place of secrets, and the secrets; a digest stays itself.

    Raises:
        RefusedError: the spec is no endpoint.
    """
    document = read_document(EndpointDocument, spec, "")
    public = {name: value for name, value in spec.items() if value is not None}
    headers = {
        name: _digest_in(value) or digest(pointer_to("/headers", name), value)
        for name, value in document.headers.items()
    }
    if document.headers:
        public["headers"] = headers
    if document.secret is not None:
        public["secret"] = _digest_in(document.secret) or digest("/secret", document.secret)
    clear = {name: value for name, value in document.headers.items() if headers[name] != value}
    secret = document.secret if public.get("secret") != document.secret else None
    return public, EndpointSecrets(secret=secret, headers=clear)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an endpoint's URL: whom a request goes to."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").rstrip("."),
        parts.port or _PORTS.get(parts.scheme, 0),
    )


def _digest_in(value: str) -> str:
    """The value where it is a digest, else nothing: a secret in clear goes no further."""
    return value if _DIGEST.fullmatch(value) else ""
