"""The kernel beside its peers: sums by key into a store with effects once, over one topic.

The records are real ones, as the gateway appends them. Kafka Streams finds the amount in them by a
streaming parser, the Faust agent decodes no more of them than it needs.
"""

from typing import Final, LiteralString

import psycopg
from psycopg import sql

from tests.benchmarks.peers import faust, kafka_streams
from tests.benchmarks.support.figures import Figure, at_least
from tests.benchmarks.support.kafka import PARTITIONS, Filled
from tests.benchmarks.support.log import Log, anonymous, filled_log
from tests.benchmarks.support.processes import ChildFailedError
from tests.benchmarks.support.projecting import (
    Applied,
    database,
    filled,
    first_generation,
    processing,
)
from tests.benchmarks.support.purchases import CUSTOMERS, total
from tests.benchmarks.support.servers import Stack

RECORDS = 1_000_000
PROCESSES = (1, 2)
RATIO_MIN = 1.5
EXACTLY_ONCE: Final = "exactly_once_v2"

_SUM: LiteralString = "SELECT sum(amount)::bigint FROM {}"


async def measure(stack: Stack) -> list[Figure]:
    async with filled_log(stack.kafka, anonymous, records=RECORDS, customers=CUSTOMERS) as log:
        topic = Filled(topic=log.topic, partitions=PARTITIONS, records=log.records)
        peers = await kafka_streams.figures(stack, topic, guarantees=(EXACTLY_ONCE,))
        agent = await faust.figures(stack, topic, nested=True)
        ours = {number: await _summed(stack, log, number) for number in PROCESSES}
    peer = max(peers, key=lambda figure: figure.value)
    best = max(ours, key=lambda number: ours[number].events_per_second)
    return [
        *peers,
        *agent,
        *(
            _figure(number, applied, log, peer=peer if number == best else None)
            for number, applied in ours.items()
        ),
    ]


async def _summed(stack: Stack, log: Log, processes: int) -> Applied:
    schema = first_generation("sums")
    async with database(stack) as conninfo:
        async with processing(
            stack, log, conninfo, "tests.benchmarks.sums", processes=processes
        ) as children:
            applied = await filled(conninfo, schema, log, children)
        async with await psycopg.AsyncConnection.connect(conninfo) as session:
            query = sql.SQL(_SUM).format(sql.Identifier(schema, "sums"))
            row = await (await session.execute(query)).fetchone()
    if row is None or row[0] != total(log.records):
        raise ChildFailedError(f"the store's sum is {row}, the topic's {total(log.records)}")
    return applied


def _figure(processes: int, applied: Applied, log: Log, *, peer: Figure | None) -> Figure:
    note = (
        f"{applied.processor_microseconds:.1f} µs of processor time an event besides Postgres, "
        f"{applied.peak_memory_bytes / 2**20:.0f} MiB at most, records of {log.value_bytes} bytes"
    )
    name = f"kernel, sums in Postgres, {processes} process{'es' if processes > 1 else ''}"
    if peer is None:
        return Figure(name=name, value=applied.events_per_second, unit="events/s", note=note)
    return Figure(
        name=name,
        value=applied.events_per_second,
        unit="events/s",
        goal=at_least(RATIO_MIN),
        ratio_to=peer.name,
        note=note,
    )
