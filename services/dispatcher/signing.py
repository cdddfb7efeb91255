"""Signing by Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric scheme ``v1``.

Guarantee: the signature covers message id, the attempt's time in whole seconds and the exact body
bytes. While a rotated secret is still honoured its signature stands beside the new one, so a
receiver that knows either of them accepts the message.
"""

import binascii
from collections.abc import Mapping
from datetime import UTC, datetime

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from services.dispatcher.errors import UnusableSecretError

SIGNING_SECRETS_MAX = 2
"""The present secret, and the one before it during a rotation."""


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
