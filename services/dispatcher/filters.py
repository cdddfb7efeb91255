"""Which deliveries are meant: a filter, and its conditions in SQL.

Guarantee: conditions speak of ``messages m`` and ``deliveries d`` in the words of their indexes, so
that no filter leads to a scan of everything where an index can serve.
"""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec

from contracts.identifiers import CustomerId, EventId
from projections.kernel.rows import customer_uuid
from services.dispatcher.deliveries import DeliveryState

_EVENT_PREFIX = "event_"


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries of a workspace; None leaves a field open. ``to`` is not included."""

    endpoint: str | None = None
    state: DeliveryState | None = None
    event: EventId | None = None
    customer: CustomerId | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


_OF_STATE: dict[DeliveryState, LiteralString] = {
    "pending": "d.state IN ('pending', 'delivering') AND d.state = 'pending'",
    "delivering": "d.state IN ('pending', 'delivering') AND d.state = 'delivering'",
    "succeeded": "d.state = 'succeeded'",
    "exhausted": "d.state IN ('exhausted', 'disabled') AND d.state = 'exhausted'",
    "disabled": "d.state IN ('exhausted', 'disabled') AND d.state = 'disabled'",
}
"""Conditions in the words of the indexes, which hold a few states each."""


def values_of(workspace: str, wanted: DeliveryFilter) -> dict[str, object]:
    """Give the parameters of ``conditions_of``; an id that is none matches nothing."""
    event = None if wanted.event is None else uuid_of(wanted.event.removeprefix(_EVENT_PREFIX))
    customer = None if wanted.customer is None else uuid_of(customer_uuid(wanted.customer))
    return {
        "workspace": workspace,
        "endpoint": wanted.endpoint,
        "event": event,
        "customer": customer,
        "from": wanted.created_from,
        "to": wanted.created_to,
    }


def conditions_of(wanted: DeliveryFilter) -> list[LiteralString]:
    """Say what is wanted; both tables are told what both know, so that either index may serve."""
    conditions: list[LiteralString] = [
        "m.workspace = %(workspace)s AND d.workspace = %(workspace)s AND m.delivery IS NOT NULL"
    ]
    if wanted.endpoint is not None:
        conditions.append("m.endpoint = %(endpoint)s AND d.endpoint = %(endpoint)s")
    if wanted.state is not None:
        conditions.append(_OF_STATE[wanted.state])
    if wanted.event is not None:
        conditions.append("m.event = %(event)s")
    if wanted.customer is not None:
        conditions.append("m.customer = %(customer)s AND d.customer = %(customer)s")
    if wanted.created_from is not None:
        conditions.append("m.created_at >= %(from)s AND d.created_at >= %(from)s")
    if wanted.created_to is not None:
        conditions.append("m.created_at < %(to)s AND d.created_at < %(to)s")
    return conditions


def uuid_of(digits: str) -> UUID:
    """Read an id's digits; what is none names nothing, as the nil uuid does."""
    try:
        return UUID(digits)
    except ValueError:
        return UUID(int=0)
