"""An endpoint's write-only values on their way in: what is public, what is sealed, what is new.

Guarantee: nothing that leaves this module as ``spec`` has a secret or a header value in clear.
"""

import base64
import os
from collections.abc import Mapping, Sequence

import msgspec

from contracts.codec import JsonObject
from contracts.definitions.endpoints import Digest, EndpointSecrets, origin, redact
from contracts.errors import Fault, RefusedError, pointer_to
from contracts.shapes import is_object
from services.runtime.sealing import MasterKey

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
    kind: str, spec: JsonObject, standing: JsonObject | None, pointer: str, digest: Digest
) -> tuple[JsonObject, SealedFields | None]:
    """The spec without null fields and secrets; and what is to be sealed anew, None for nothing.

    An endpoint without a secret keeps the one that stands, or is given one: it signs, and is never
    sent. A header's value is sent, so it is kept for the origin alone that it was given for.

    Raises:
        RefusedError: a digest that stands for nothing known, or for what was meant for another.
    """
    given: JsonObject = {name: value for name, value in spec.items() if value is not None}
    if kind != "endpoint":
        return given, None
    public, clear = redact(given, digest)
    made: JsonObject = dict(given)
    if "headers" in given:
        made["headers"] = dict(_texts(public["headers"]))
    if "secret" in given:
        made["secret"] = str(public["secret"])
    old = standing or {}
    old_headers, new_headers = _texts(old.get("headers")), _texts(made.get("headers"))
    kept = tuple(name for name in new_headers if name not in clear.headers)
    _check_kept(old, made, kept, clear, pointer)
    secret, generated = clear.secret, False
    if secret is None and "secret" in old:
        made["secret"] = old["secret"]
    elif secret is None:
        secret, generated = new_secret(), True
        made["secret"] = digest("/secret", secret)
    if made.get("secret") == old.get("secret"):
        secret = None
    if secret is None and old_headers == new_headers:
        return made, None
    return made, SealedFields(
        secret=secret, headers=clear.headers, kept_headers=kept, generated=generated
    )


def _check_kept(
    old: JsonObject, made: JsonObject, kept: Sequence[str], clear: EndpointSecrets, pointer: str
) -> None:
    """Raise ``RefusedError`` where a digest does not stand for a value that may be used here."""
    stood, given = _texts(old.get("headers")), _texts(made.get("headers"))
    moved = "url" in old and origin(str(old["url"])) != origin(str(made["url"]))
    faults: list[Fault] = []
    for name in kept:
        place = pointer_to(pointer, "headers", name)
        if stood.get(name) != given[name]:
            faults.append(_unknown(place))
        elif moved:
            detail = "stands for a value that was given for another origin: send the value again"
            faults.append(Fault(pointer=place, code="secret-again", detail=detail))
    if clear.secret is None and made.get("secret") not in (None, old.get("secret")):
        faults.append(_unknown(pointer_to(pointer, "secret")))
    if faults:
        raise RefusedError(faults)


def digest_of(master: MasterKey, workspace: str, endpoint: str) -> Digest:
    """How the values of one endpoint are told apart; none is told of another's."""

    def digest(pointer: str, value: str) -> str:
        return master.digest(pointer_to("", workspace, endpoint) + pointer, value)

    return digest


def _unknown(pointer: str) -> Fault:
    return Fault(pointer=pointer, code="digest", detail="is the digest of no value that stands")


def _texts(value: object) -> dict[str, str]:
    if not is_object(value):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}
