"""Rows of ``timeline``: only ever added."""

from struct import Struct

from projections.customers.model import TimelineEntry, WorkingSet
from projections.kernel import binary
from projections.kernel.tables import Table
from services.runtime.postgres import Session

_TIMELINE = Table(
    "timeline",
    "customer uuid, record_offset bigint, number smallint, partition integer,"
    " occurred_at timestamptz, recorded_at timestamptz, workspace text, kind text, data text,"
    " caused_by text",
)
_COLUMNS = 10
_fixed = Struct(">h i16s iq ih ii iq iq").pack


async def write(session: Session, working: WorkingSet) -> None:
    """Add the entries of a batch."""
    await _TIMELINE.add(session, [_spell(entry) for entry in working.entries])


def _spell(entry: TimelineEntry) -> bytes:
    fixed = _fixed(
        _COLUMNS, 16, binary.customer_key(entry.customer), 8, entry.offset, 2, entry.number,
        4, entry.partition, 8, binary.micros(entry.occurred_at),
        8, binary.micros(entry.recorded_at),
    )  # fmt: skip
    caused_by = binary.NULL if entry.caused_by is None else binary.text(entry.caused_by)
    named = binary.name(entry.workspace) + binary.name(entry.kind)
    return fixed + named + binary.raw(entry.data) + caused_by
