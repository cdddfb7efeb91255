"""Events as producers spell them, and the definitions that unit tests judge them by."""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.codec import encode
from contracts.definitions.catalogue import Catalogue, Snapshot

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def definitions(*, unknown: str = "refuse", pii: tuple[str, ...] = ()) -> Snapshot:
    """Definitions with ``signed_up`` (anything goes) and ``order.completed`` (needs an amount)."""
    catalogue = Catalogue()
    settings = {"unknown_event_types": unknown, "customer_pii": list(pii)}
    catalogue.apply("demo", 1, "workspace", "demo", settings)
    catalogue.apply("demo", 2, "event_type", "signed_up", {})
    order = {
        "properties": {
            "amount": {"type": "number", "required": True},
            "note": {"type": "string", "pii": True},
        },
        "additional_properties": "refuse",
    }
    catalogue.apply("demo", 3, "event_type", "order.completed", order)
    return catalogue.latest("demo")


def event(**fields: object) -> dict[str, object]:
    """An event that is fine, with other fields."""
    return {"event": "signed_up", "customer": {"source_id": "alex"}, **fields}


def text(**fields: object) -> bytes:
    """The same as JSON."""
    return encode(event(**fields))
