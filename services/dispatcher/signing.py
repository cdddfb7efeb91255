"""Signing by Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric scheme ``v1``.

Guarantee: the signature covers message id, the attempt's time in whole seconds and the exact body
bytes. While a rotated secret is still honoured its signature stands beside the new one, so a
receiver that knows either of them accepts the message.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from services.dispatcher.errors import UnusableSecretError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the form of a secret, none itself
SECRET_BYTES = 32
"""Length of a secret of our own making; the specification asks for 24 to 64."""
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
SIGNING_SECRETS_MAX = 2
"""The present secret, and the one before it during a rotation."""


def spell_secret(key: bytes) -> str:
    """Write a key the way receivers configure it: ``whsec_`` and base64."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def check_secret(secret: str) -> None:
    """Refuse a secret that receivers' libraries could not use.

    Raises:
        UnusableSecretError: not base64 (with or without prefix and padding) of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(_padded(secret.removeprefix(SECRET_PREFIX)), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableSecretError from error
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise UnusableSecretError


class Signer:
    """Signs for one endpoint with one or two secrets, the present one first.

    Raises:
        UnusableSecretError: a secret is empty or not base64.
    """

    def __init__(self, *secrets: str) -> None:
        assert 1 <= len(secrets) <= SIGNING_SECRETS_MAX, "one secret, or two while rotating"
        try:
            self._keys = tuple(Webhook(secret) for secret in secrets)
        except (EmptyWebhookSecretError, binascii.Error, ValueError) as error:
            raise UnusableSecretError from error

    def headers(self, message: str, at: datetime, body: str) -> Mapping[str, str]:
        """Give the three headers of an attempt.

        Args:
            message: the message's id, the same on every attempt.
            at: when the attempt is made, any zone.
            body: the message as text; its UTF-8 bytes are what is sent.
        """
        utc = at.astimezone(UTC).replace(microsecond=0)  # the library would drop another zone
        signatures = " ".join(key.sign(message, utc, body) for key in self._keys)
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(utc.timestamp())),
            "webhook-signature": signatures,
        }


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
