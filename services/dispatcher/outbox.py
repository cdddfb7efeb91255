"""Appends messages to the topic ``webhooks``: the same bytes that are sent.

Guarantee: every message in the queue stands on the topic at least once and, per customer, in order.
It may stand twice where a process was killed between append and acknowledgement and the request
landed late; both copies have the same id, which derives from the cause. What an earlier process had
appended is looked up first: records from the end noted last are read and passed over.

The kernel's own relay writes CloudEvents; a message is not one, so it is relayed here.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, LiteralString

import structlog

from contracts.topics import WEBHOOKS
from projections.kernel.rows import customer_id
from services.dispatcher.deliveries import SCHEMA
from services.runtime import metrics
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.errors import KafkaUnavailableError, OutcomeUnknownError
from services.runtime.kafka.producer import Outgoing, Producer
from services.runtime.postgres import DatabaseUnavailableError, Session, connect, translated

LOOK_SECONDS: Final = 1.0
"""How often messages of other processes are looked for, which may have been killed."""
RETRY_SECONDS: Final = 0.5
APPEND_SECONDS: Final = 2.0
"""One append; it and a read run inside a transaction, which may idle for 5 s."""
READ_SECONDS: Final = 4.0
"""Reading what a killed process had appended."""
MESSAGES_MAX: Final = 1_000
"""Messages appended at once, of one partition."""
PARTITION_LOCK: Final = 0x7570_736F
"""Class of the advisory locks that let one process append to a partition at a time ("upso")."""

_WAITING: LiteralString = "SELECT DISTINCT partition FROM deliveries.unappended ORDER BY partition"
_LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(%s, %s)"
_FIND: LiteralString = """
SELECT u.message, m.customer::text, m.body FROM deliveries.unappended u
JOIN deliveries.messages m ON m.id = u.message
WHERE u.partition = %s ORDER BY u.place, u.message LIMIT %s"""
_END: LiteralString = "SELECT next_offset FROM deliveries.topic_ends WHERE partition = %s"
_FORGET: LiteralString = """
WITH gone AS (
    DELETE FROM deliveries.unappended WHERE partition = %(partition)s AND message = ANY (%(ids)s))
INSERT INTO deliveries.topic_ends (partition, next_offset) VALUES (%(partition)s, %(end)s)
ON CONFLICT ON CONSTRAINT topic_ends_have_one_row_a_partition
DO UPDATE SET next_offset = excluded.next_offset"""

_log = structlog.get_logger(__name__)


class Outbox:
    """Appends until cancelled; one in each process.

    ``trouble`` says why nothing can be appended now, in a sentence; it is None when all is well.
    """

    def __init__(self, conninfo: str, producer: Producer, reader: Callable[[], Consumer]) -> None:
        self._conninfo = conninfo
        self._producer = producer
        self._reader = reader
        self._prober: Consumer | None = None
        self._announced = asyncio.Event()
        self.trouble: str | None = "not connected to Postgres yet"

    def announce(self) -> None:
        """Look at once: messages were just committed."""
        self._announced.set()

    async def run(self) -> None:
        """Append what waits, for ever."""
        while True:
            try:
                with translated():
                    await self._work()
            except (DatabaseUnavailableError, KafkaUnavailableError, OutcomeUnknownError) as error:
                self.trouble = f"messages wait for the topic: {type(error).__name__}"
                _log.warning("messages cannot be appended now", detail=str(error))
                metrics.RETRIES.labels(action="webhooks").inc()
                await asyncio.sleep(RETRY_SECONDS)

    async def _work(self) -> None:
        session = await connect(self._conninfo, schema=SCHEMA)
        try:
            while True:
                self._announced.clear()
                more = await self._append_all(session)
                self.trouble = None
                if not more:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self._announced.wait()
        finally:
            with suppress(Exception):
                await session.close()
            if self._prober is not None:
                prober, self._prober = self._prober, None
                await prober.stop()

    async def _append_all(self, session: Session) -> bool:
        """Append of each partition that has something; answer whether there may be more."""
        rows = await (await session.execute(_WAITING)).fetchall()
        counts = [await self._append(session, row[0]) for row in rows]
        return any(count == MESSAGES_MAX for count in counts)

    async def _append(self, session: Session, partition: int) -> int:
        async with session.transaction():
            locked = await (await session.execute(_LOCK, (PARTITION_LOCK, partition))).fetchone()
            if locked is None or not locked[0]:
                return 0
            noted = await (await session.execute(_END, (partition,))).fetchone()
            end = await self._end_of(partition)
            if noted is None:  # noted before the first append, so that no append goes unnoticed
                await session.execute(_FORGET, {"partition": partition, "ids": [], "end": end})
                return MESSAGES_MAX
            found = await (await session.execute(_FIND, (partition, MESSAGES_MAX))).fetchall()
            if not found:
                return 0
            standing = await self._standing(partition, noted[0], end)
            records = [
                Outgoing(customer_id(customer).encode(), body)
                for _, customer, body in found
                if body not in standing
            ]
            end = await self._put(partition, records, end)
            ids = [message for message, _, _ in found]
            await session.execute(_FORGET, {"partition": partition, "ids": ids, "end": end})
        metrics.OUTBOX_RELAYED.labels("dispatcher").inc(len(records))
        return len(found)

    async def _put(self, partition: int, records: Sequence[Outgoing], end: int) -> int:
        if not records:
            return end
        acks = await self._producer.append(
            WEBHOOKS, partition, records, deadline_seconds=APPEND_SECONDS
        )
        ack, count = acks[-1]
        return ack.base_offset + count

    async def _end_of(self, partition: int) -> int:
        if self._prober is None:
            prober = self._reader()
            await prober.assign({partition: 0})
            self._prober = prober
        return (await self._prober.end_offsets([partition]))[partition]

    async def _standing(self, partition: int, noted: int, end: int) -> set[bytes]:
        """Read what was appended beyond the end noted last."""
        standing: set[bytes] = set()
        if noted >= end:
            return standing
        reader = self._reader()
        try:
            async with asyncio.timeout(READ_SECONDS):
                await reader.assign({partition: noted})
                begin = (await reader.begin_offsets([partition]))[partition]
                offset = max(noted, begin)
                reader.seek(partition, offset)
                while offset < end:
                    for record in await reader.poll(partition, records_max=MESSAGES_MAX):
                        standing.add(record.value)
                        offset = record.offset + 1
        except TimeoutError as error:
            raise KafkaUnavailableError(WEBHOOKS) from error
        finally:
            await reader.stop()
        return standing
