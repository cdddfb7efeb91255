"""Requests as producers send them, typed, each with what its test changes."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from contracts.codec import encode

Metadata = dict[str, str | int | bool | Decimal | None]


class CustomerRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did it."""

    id: str | None = None
    source_id: str | None = None
    email: str | None = None
    name: str | None = None
    metadata: Metadata | None = None


class EventBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of ``POST /v1/events``."""

    event: str
    customer: CustomerRef
    metadata: Metadata | None = None
    id: str | None = None
    external_id: str | None = None
    occurred_at: datetime | None = None
    deleted_at: datetime | None = None
    goal_type: str | None = None
    goal_name: str | None = None
    goal_value: Decimal | None = None
    historical: bool = False

    def encoded(self) -> bytes:
        """Return the JSON."""
        return encode(self)


ALEX = CustomerRef(source_id="alex", email="alex@domain.io", name="Alex Doe")


def review(
    customer: CustomerRef = ALEX,
    *,
    review_type: str = "text",
    rating: int = 5,
    id: str | None = None,  # noqa: A002 - the field's own name
    external_id: str | None = None,
) -> EventBody:
    """Return a review, by the sample definitions worth 50 points (a video 150)."""
    return EventBody(
        event="left_review",
        customer=customer,
        metadata={"review_type": review_type, "rating": rating},
        id=id,
        external_id=external_id,
    )


def order(
    customer: CustomerRef = ALEX,
    *,
    amount: Decimal = Decimal("149.99"),
    external_id: str | None = None,
    occurred_at: datetime | None = None,
    deleted_at: datetime | None = None,
) -> EventBody:
    """Return an order, by the sample definitions worth a point for each whole 10."""
    return EventBody(
        event="order.completed",
        customer=customer,
        metadata={"amount": amount},
        external_id=external_id,
        occurred_at=occurred_at,
        deleted_at=deleted_at,
    )


def refund(
    customer: CustomerRef = ALEX,
    *,
    amount: Decimal = Decimal(-50),
    external_id: str | None = None,
) -> EventBody:
    """Return a refund; the amount is negative."""
    return EventBody(
        event="order.refunded",
        customer=customer,
        metadata={"amount": amount},
        external_id=external_id,
    )
