"""How fresh the live generation is, a row a partition, for those who must not outrun it.

Guarantee: a row says of an instant that all that stood in the partition by then is applied; it
never goes back. Where nothing waits the instant is by Postgres' clock, else it is the append time
of the last record applied, which is the broker's.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import LiteralString

from services.runtime.postgres import Session, translated

_NOTE: LiteralString = """
INSERT INTO upshot.freshness AS f (projection, partition, caught_up_at)
SELECT %s, n.partition, coalesce(n.applied_at, now())
FROM unnest(%s::int[], %s::timestamptz[]) AS n (partition, applied_at)
ON CONFLICT (projection, partition) DO UPDATE
SET caught_up_at = greatest(f.caught_up_at, excluded.caught_up_at)"""


async def note(
    session: Session, projection: str, applied_at: Mapping[int, datetime | None]
) -> None:
    """Note for each partition when its last applied record was appended; None: all is applied.

    Raises:
        DatabaseUnavailableError: Postgres is away.
    """
    if not applied_at:
        return
    partitions = sorted(applied_at)
    instants = [applied_at[partition] for partition in partitions]
    with translated():
        await session.execute(_NOTE, (projection, partitions, instants))
