"""What can go wrong with a delivery's parts, as sentences for the operator."""


class UnusableSecretError(Exception):
    """An endpoint's signing secret is empty or not base64; rotate it."""


class UnknownDeliveryError(Exception):
    """No delivery of that id stands in this workspace."""


class NotRedrivableError(Exception):
    """The delivery is still under way, so there is nothing to send again yet."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


class EndpointDisabledError(Exception):
    """The endpoint is disabled; enable it before sending to it again."""
