"""An endpoint's write-only values on their way in: what is public, what is sealed, what is new.

Guarantee: nothing that leaves this module as ``spec`` has a secret or a header value in clear.
"""

import base64
import os
from collections.abc import Mapping

import msgspec

from contracts.codec import Json, JsonObject
from contracts.definitions.endpoints import digest, redact
from contracts.errors import Fault, RefusedError, pointer_to

SECRET_BYTES = 32
"""Of a generated secret; Standard Webhooks takes 24 to 64."""
SECRET_PREFIX = "whsec_"  # noqa: S105


class SealedFields(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint's document brings in clear.

    ``secret`` None keeps the one that stands. ``headers`` are the new values by name;
    ``kept_headers`` names those that stay as they are. ``generated`` says that the secret was drawn
    here, so the caller must be told it once.
    """

    secret: str | None
    headers: Mapping[str, str]
    kept_headers: tuple[str, ...]
    generated: bool = False

    def __repr__(self) -> str:
        return "SealedFields(…)"


def new_secret() -> str:
    """Draw an endpoint's secret: ``whsec_`` and base64."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def redacted(
    kind: str, spec: JsonObject, standing: JsonObject | None, pointer: str
) -> tuple[JsonObject, SealedFields | None]:
    """The spec without null fields and secrets; and what is to be sealed anew, None for nothing.

    An endpoint without a secret keeps the one that stands, or is given one.

    Raises:
        RefusedError: a digest that stands for nothing known.
    """
    given: JsonObject = {name: value for name, value in spec.items() if value is not None}
    if kind != "endpoint":
        return given, None
    public, clear = redact(given)
    made: JsonObject = dict(given)
    headers, digest_now = public.get("headers"), public.get("secret")
    if isinstance(headers, dict):
        made["headers"] = {name: digest(value) for name, value in _texts(given["headers"]).items()}
    if isinstance(digest_now, str):
        made["secret"] = digest_now
    old = standing or {}
    old_headers, new_headers = _texts(old.get("headers")), _texts(made.get("headers"))
    kept = tuple(name for name in new_headers if name not in clear.headers)
    faults = [
        _unknown(pointer_to(pointer, "headers", name))
        for name in kept
        if old_headers.get(name) != new_headers[name]
    ]
    if clear.secret is None and made.get("secret") not in (None, old.get("secret")):
        faults.append(_unknown(pointer_to(pointer, "secret")))
    if faults:
        raise RefusedError(faults)
    secret, generated = clear.secret, False
    if secret is None and "secret" in old:
        made["secret"] = old["secret"]
    elif secret is None:
        secret, generated = new_secret(), True
        made["secret"] = digest(secret)
    if made.get("secret") == old.get("secret"):
        secret = None
    if secret is None and old_headers == new_headers:
        return made, None
    return made, SealedFields(
        secret=secret, headers=clear.headers, kept_headers=kept, generated=generated
    )


def _unknown(pointer: str) -> Fault:
    return Fault(pointer=pointer, code="digest", detail="is the digest of no value that stands")


def _texts(value: Json) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}
