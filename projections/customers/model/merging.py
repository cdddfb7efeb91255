"""Two customers become one: what the survivor's profile gains, and the line that says so. Pure.

Guarantee: no field that the survivor had is changed.
"""

import msgspec

from contracts import codec
from contracts.profiles import EMPTY_PROFILE, Changes, fill
from projections.customers.model.rows import (
    CustomerRow,
    MergedEntry,
    ProfileEntry,
    TimelineEntry,
)
from projections.customers.model.working import WorkingSet
from projections.kernel.projection import TakeOver


def take_over(working: WorkingSet, taking: TakeOver) -> None:
    """Fill the survivor's profile, and enter the merge on the timeline.

    A survivor of whom nothing was told before begins here.
    """
    workspace, taker = taking.record.workspace, taking.record.subject
    merged = working.customers.get((workspace, taking.merged))
    row = working.customers.get((workspace, taker))
    if row is None:
        row = CustomerRow(created_at=taking.at, updated_at=taking.at)
        _enter(working, taking, "customer.created", codec.encode(ProfileEntry(changes={})))
    profile, changes = fill(row.profile, EMPTY_PROFILE if merged is None else merged.profile)
    if changes:  # a field may be cleared by a record that says again what it said
        row = msgspec.structs.replace(row, profile=profile, merged=None, updated_at=taking.at)
    working.customers[workspace, taker] = row
    working.changed_customers[workspace, taker] = None
    _enter(working, taking, "customer.merged", _merged(taking, changes))


def _merged(taking: TakeOver, changes: Changes) -> bytes:
    return codec.encode(MergedEntry(merged=taking.merged, changes=changes))


def _enter(working: WorkingSet, taking: TakeOver, kind: str, data: bytes) -> None:
    working.entries.append(
        TimelineEntry(
            workspace=taking.record.workspace,
            customer=taking.record.subject,
            partition=taking.partition,
            offset=taking.offset,
            number=len(working.entries),
            kind=kind,
            occurred_at=taking.at,
            recorded_at=taking.at,
            data=data,
            caused_by=taking.record.id,
        )
    )
