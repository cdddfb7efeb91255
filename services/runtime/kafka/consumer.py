"""Reading partitions: by hand, or shared in a consumer group, always from an offset of ours.

Guarantee: no offset is ever chosen by Kafka (``auto_offset_reset`` is none). A partition gained in
a rebalance stays paused until its owner has sought it; committed offsets are hints for lag tools.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiokafka is untyped; what leaves this module is typed.

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from services.runtime.kafka.closing import has_given_up, let_go
from services.runtime.kafka.errors import KafkaUnavailableError, LogGapError, not_cancelled

SESSION_TIMEOUT_MS = 6_000
"""After this long without a heartbeat a process's partitions go to others."""
HEARTBEAT_MS = 500
"""A member learns of a rebalance by its heartbeat: with the session, a takeover within 8 s."""
MAX_POLL_INTERVAL_MS = 600_000
"""A partition's transaction may take long (retries without limit); the heartbeat tells of death."""
FETCH_BYTES_MAX = 2 * 1024 * 1024
"""Of one partition in one fetch: the size of a batch when behind. The client holds twice as much of
every partition, so that twelve take 50 MB."""
FETCH_WAIT_MS = 100
"""How long a fetch may wait for records: a partition just gained waits for the one under way."""
POLL_MS = 250
"""How long one poll waits for records before the caller may look around."""
ANSWER_SECONDS = 5.0
"""How long the broker may take to say where a log ends, and a client to close."""
PROBE_SECONDS = 10.0
"""How long reading one given offset may take."""

PartitionsChange = Callable[[Collection[int]], Awaitable[None]]


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A record as read: where it stands, when the broker appended it, its bytes and headers."""

    partition: int
    offset: int
    appended_at_ms: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def appended_at(self) -> datetime:
        """The log's own append time."""
        return datetime.fromtimestamp(self.appended_at_ms / 1000, tz=UTC)


class _Listener(ConsumerRebalanceListener):
    def __init__(self, owner: "Consumer", gained: PartitionsChange, lost: PartitionsChange) -> None:
        self._owner = owner
        self._gained = gained
        self._lost = lost

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, revoked: Iterable[TopicPartition]
    ) -> None:
        await self._lost([each.partition for each in revoked])

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Iterable[TopicPartition]
    ) -> None:
        partitions = [each.partition for each in assigned]
        self._owner.hold(partitions)
        await self._gained(partitions)


class Consumer:
    """Reads one topic; either ``assign`` partitions by hand or ``join`` a group."""

    def __init__(
        self, bootstrap: str, topic: str, *, prefix: str = "", group: str | None = None
    ) -> None:
        self._topic = prefix + topic
        self._client = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=None if group is None else prefix + group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            metadata_max_age_ms=60_000,
        )

    async def assign(self, partitions: dict[int, int]) -> None:
        """Start reading these partitions by hand, each from its offset."""
        await self._start()
        tps = {self._tp(partition): offset for partition, offset in partitions.items()}
        self._client.assign(list(tps))
        for tp, offset in tps.items():
            self._client.seek(tp, offset)

    async def join(self, *, gained: PartitionsChange, lost: PartitionsChange) -> None:
        """Join the group. ``gained`` must not fail; partitions stay paused until ``resume_at``."""
        await self._start()
        self._client.subscribe([self._topic], listener=_Listener(self, gained, lost))

    def hold(self, partitions: Collection[int]) -> None:
        """Pause partitions before their first fetch, at an offset that Kafka need not choose."""
        for partition in partitions:
            self._client.seek(self._tp(partition), 0)
        self._client.pause(*(self._tp(partition) for partition in partitions))

    def resume_at(self, partition: int, offset: int) -> None:
        """Seek a held partition and let it flow."""
        self._client.seek(self._tp(partition), offset)
        self._client.resume(self._tp(partition))

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from another offset next."""
        self._client.seek(self._tp(partition), offset)

    async def poll(
        self, partition: int, *, records_max: int, timeout_ms: int = POLL_MS
    ) -> list[Incoming]:
        """Read what is there of one partition, at most ``records_max``; empty after the timeout.

        Raises:
            LogGapError: the log does not have the offset to read from.
            KafkaUnavailableError: the client gave the request up.
        """
        tp = self._tp(partition)
        try:
            with not_cancelled():
                found = await self._client.getmany(
                    tp, timeout_ms=timeout_ms, max_records=records_max
                )
        except OffsetOutOfRangeError as error:
            raise LogGapError(str(error)) from error
        except (NoOffsetForPartitionError, IllegalStateError):
            await asyncio.sleep(timeout_ms / 1000)  # mid-rebalance: the position is not ours yet
            return []
        return [
            Incoming(
                partition,
                record.offset,
                record.timestamp,
                record.key or b"",
                record.value or b"",
                tuple(record.headers),
            )
            for record in found.get(tp, ())
        ]

    async def end_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        """Offset after the last record of each partition.

        Raises:
            KafkaUnavailableError: no answer came. Use another consumer from then on: aiokafka's
                task that knows the cluster dies with a connection that breaks at a bad moment.
        """
        return await self._offsets(self._client.end_offsets, partitions)

    async def begin_offsets(self, partitions: Collection[int]) -> dict[int, int]:
        """Offset of the first record each partition still has; raises as ``end_offsets`` does."""
        return await self._offsets(self._client.beginning_offsets, partitions)

    async def _offsets(
        self,
        ask: Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]],
        partitions: Collection[int],
    ) -> dict[int, int]:
        if has_given_up(self._client):
            raise KafkaUnavailableError("the client has given its group up")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                with not_cancelled():
                    found = await ask([self._tp(each) for each in partitions])
        except (TimeoutError, KafkaError) as error:
            raise KafkaUnavailableError(str(error)) from error
        return {tp.partition: offset for tp, offset in found.items()}

    async def commit_hint(self, offsets: dict[int, int]) -> None:
        """Tell the group's offsets to lag tools; failing to is no harm."""
        try:
            with not_cancelled():
                await self._client.commit({self._tp(p): offset for p, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError, KafkaError, KafkaUnavailableError):
            return

    async def stop(self) -> None:
        """Leave the group and close."""
        try:
            with suppress(KafkaUnavailableError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    with not_cancelled():
                        await self._client.stop()
        finally:
            let_go(self._client)

    async def _start(self) -> None:
        """Connect, to the end: a connection cut off while it is made would belong to nobody."""
        starting = asyncio.ensure_future(self._client.start())
        try:
            with not_cancelled():
                await asyncio.shield(starting)
        except BaseException as error:
            if (await asyncio.wait([starting], timeout=ANSWER_SECONDS))[0]:
                _ = starting.cancelled() or starting.exception()
            await self.stop()
            if isinstance(error, KafkaError):
                raise KafkaUnavailableError(str(error)) from error
            raise

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


async def read_one(
    bootstrap: str, topic: str, partition: int, offset: int, *, prefix: str = ""
) -> Incoming | None:
    """Read the record at one offset; None where the log has none there.

    Raises:
        KafkaUnavailableError: Kafka did not answer in time.
    """
    consumer = Consumer(bootstrap, topic, prefix=prefix)
    await consumer.assign({partition: offset})
    try:
        begin = (await consumer.begin_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        if not begin <= offset < end:
            return None
        async with asyncio.timeout(PROBE_SECONDS):
            while True:
                for record in await consumer.poll(partition, records_max=1):
                    return record
    except TimeoutError as error:
        raise KafkaUnavailableError(topic) from error
    finally:
        await consumer.stop()
