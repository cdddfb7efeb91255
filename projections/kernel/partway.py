"""Where a transaction ends when more timers are due than it takes.

Guarantee: nothing that comes after a timer which was not read is applied before it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from contracts.clocks import ClockAdvanced
from projections.kernel.checkpoint import Checkpoint
from projections.kernel.records import Reading, read
from projections.kernel.timers import SYSTEM_CLOCK, Order
from services.runtime.kafka.consumer import Incoming


def clocks_moved(old: Checkpoint, new: Checkpoint) -> dict[str, datetime]:
    """Say which clocks a batch moves, and to what instant."""
    known = old.progress.clocks
    moved = {
        workspace: at
        for workspace, at in new.progress.clocks.items()
        if known.get(workspace) != at or old.is_partway
    }
    return {SYSTEM_CLOCK: new.logical_time, **moved}


def cut(
    old: Checkpoint,
    records: Sequence[Incoming],
    reading: Reading,
    horizons: Mapping[str, Order],
) -> tuple[Reading, Order | None]:
    """Shorten a batch to what can be applied with the timers that were read.

    Args:
        horizons: by clock, the last timer that may fire: those after it were not all read.

    Returns:
        The records before the first that needs other timers. Where that is the very first, no
        record, the checkpoint ``is_partway`` at the horizon, and the horizon.
    """
    ends = {clock: _needs(reading, clock, order[0], old) for clock, order in horizons.items()}
    clock = min(ends, key=lambda each: (ends[each], each))
    end = ends[clock]
    if end > records[0].offset:
        return read(old, records[: end - records[0].offset]), None
    at = read(old, records[:1]).checkpoint.logical_time
    clocks = old.progress.clocks
    if clock == SYSTEM_CLOCK:
        at = max(old.logical_time, horizons[clock][0])
    else:
        shown = horizons[clock][0]
        clocks = {**clocks, clock: max(shown, clocks.get(clock, shown))}
    checkpoint = msgspec.structs.replace(
        old,
        logical_time=at,
        is_partway=True,
        progress=msgspec.structs.replace(old.progress, clocks=clocks),
    )
    times = [(records[0].offset, at)]
    return Reading(checkpoint=checkpoint, decoded=[], times=times, stamps=[]), horizons[clock]


def _needs(reading: Reading, clock: str, due: datetime, old: Checkpoint) -> int:
    """Find the first record before which all timers of an instant must have fired."""
    if clock == SYSTEM_CLOCK:
        return next((offset for offset, at in reading.times if at >= due), old.next_offset)
    for decoded in reading.decoded:
        is_set = isinstance(decoded.data, ClockAdvanced) and decoded.record.workspace == clock
        if is_set and decoded.at >= due:
            return decoded.offset
    return old.next_offset
