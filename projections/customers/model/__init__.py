"""The pure fold of the customers projection: what a record does to profile, events and timeline.

Guarantee: the rows are a function of the log. Nothing here reads a clock or a database.
"""

from projections.customers.model.fold import apply
from projections.customers.model.merging import take_over
from projections.customers.model.owners import Claim, Owner, Withdrawal, settle
from projections.customers.model.rows import (
    CustomerRow,
    EventContent,
    EventRow,
    TimelineEntry,
)
from projections.customers.model.working import WorkingSet

MODEL_VERSION = 1
"""Raised with every change after which the same log gives other rows."""

__all__ = [
    "MODEL_VERSION",
    "Claim",
    "CustomerRow",
    "EventContent",
    "EventRow",
    "Owner",
    "TimelineEntry",
    "Withdrawal",
    "WorkingSet",
    "apply",
    "settle",
    "take_over",
]
