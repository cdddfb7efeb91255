"""Reading customers, their timelines and events. Read-only; the schema is the generation's.

Guarantee: lists are newest first, bounded, and their cursors stay valid while new rows come. A
cursor or a limit that no list answered raises ``RefusedError``.
"""

from projections.customers.queries.activity import activity, new_activity, workspace_activity
from projections.customers.queries.answers import (
    ActivityEntry,
    ActivityPage,
    CustomerPage,
    CustomerProfile,
    EventCustomer,
    EventPage,
    NewActivity,
    StoredEvent,
)
from projections.customers.queries.customers import find_customer, find_customers_by_email
from projections.customers.queries.events import find_event, list_events, sample_events
from projections.customers.queries.pages import LIMIT_MAX

__all__ = [
    "LIMIT_MAX",
    "ActivityEntry",
    "ActivityPage",
    "CustomerPage",
    "CustomerProfile",
    "EventCustomer",
    "EventPage",
    "NewActivity",
    "StoredEvent",
    "activity",
    "find_customer",
    "find_customers_by_email",
    "find_event",
    "list_events",
    "new_activity",
    "sample_events",
    "workspace_activity",
]
