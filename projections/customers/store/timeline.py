"""Rows of ``timeline``: only ever added, by COPY."""

from typing import LiteralString

from projections.customers.model import TimelineEntry, WorkingSet
from projections.kernel import rows
from services.runtime.postgres import Session

_COPY: LiteralString = """
COPY timeline (workspace, customer, record_offset, number, partition, kind, occurred_at,
    recorded_at, data, caused_by) FROM STDIN"""


async def write(session: Session, working: WorkingSet) -> None:
    """Add the entries of a batch."""
    await rows.copy(session, _COPY, [_spell(entry) for entry in working.entries])


def _spell(entry: TimelineEntry) -> str:
    caused_by = rows.NULL if entry.caused_by is None else rows.text(entry.caused_by)
    return (
        f"{entry.workspace}\t{rows.customer_uuid(entry.customer)}\t{entry.offset}"
        f"\t{entry.number}\t{entry.partition}\t{rows.text(entry.kind)}"
        f"\t{entry.occurred_at.isoformat()}\t{entry.recorded_at.isoformat()}"
        f"\t{rows.json_text(entry.data)}\t{caused_by}"
    )
