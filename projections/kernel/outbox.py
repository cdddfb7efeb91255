"""Output records: committed with the rows that caused them, appended to Kafka after.

Guarantee: each output record of a live generation is appended at least once and in order, with a
sequence that grows by one within its source. It may stand twice when a relay was killed between
append and acknowledgement; a reader who keeps the last sequence of each source passes over that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import LiteralString

import msgspec

from contracts import codec
from contracts.cloudevent import SEQUENCE_HEADER, SOURCE_HEADER, CloudEvent, spell_sequence
from contracts.internal_events import INTERNAL_KINDS
from contracts.partitioner import partition_of
from contracts.topics import CUSTOMER_EVENTS, OUTPUT_MAX_BYTES
from projections.kernel.errors import InvalidRecordError
from projections.kernel.ports import LogAppender, LogReader
from projections.kernel.projection import Naming, Output, RawOutput
from services.runtime.kafka.producer import Outgoing
from services.runtime.postgres import Session

APPEND_SECONDS = 10.0
"""How long one append of the relay may take before it is tried again."""
SCAN_RECORDS_MAX = 5_000
"""Records read at once while looking for what a killed relay had appended."""


class Forwarded(msgspec.Struct, frozen=True, gc=False):
    """A record that is appended once more, as it is, for the customer that is its subject now."""

    record: CloudEvent


class Relayed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One output record as the outbox holds it."""

    topic: str
    target: int
    sequence: int
    key: bytes
    value: bytes
    is_raw: bool = False
    """Its source and sequence stand in headers, since the value does not tell them."""


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """The output records of one transaction, in order; ``first_offset`` is where it began."""

    sequence_first: int
    first_offset: int
    records: bytes


encode_relayed = msgspec.msgpack.Encoder().encode
"""Encode a list of ``Relayed`` as an outbox row holds it."""
_decode = msgspec.msgpack.Decoder(list[Relayed]).decode

_INSERT: LiteralString = (
    "INSERT INTO outbox (partition, sequence_first, first_offset, records) VALUES (%s, %s, %s, %b)"
)
_PENDING: LiteralString = """
SELECT sequence_first, first_offset, records FROM outbox WHERE partition = %s
ORDER BY sequence_first"""
_FLUSH_LATER: LiteralString = "SELECT set_config('synchronous_commit', 'off', false)"
_RELAYS: LiteralString = "SELECT topic, target, next_offset FROM relays WHERE partition = %s"
_EXPECT: LiteralString = """
INSERT INTO relays (partition, topic, target, next_offset)
SELECT %s, %s, %s, %s FROM set_config('synchronous_commit', 'on', true)
ON CONFLICT ON CONSTRAINT relays_have_one_row_a_target DO NOTHING"""
_RELAYED: LiteralString = """
WITH done AS (DELETE FROM outbox WHERE partition = %(partition)s AND sequence_first = %(first)s)
UPDATE relays r SET next_offset = greatest(r.next_offset, n.next_offset)
FROM unnest(%(topics)s::text[], %(targets)s::int[], %(offsets)s::bigint[])
    AS n (topic, target, next_offset)
WHERE r.partition = %(partition)s AND r.topic = n.topic AND r.target = n.target"""


def source_of(projection: str, partition: int) -> str:
    """Name the source that a partition's output records bear."""
    return f"{projection}/{partition}"


class Outputs:
    """The outputs of one batch, encoded as they come; kept only where the generation is live.

    Args:
        sequence: of the last output record before these; each takes the next one.
        naming: who knows which kinds of outcomes come back.
    """

    def __init__(
        self,
        *,
        source: str,
        partition: int,
        partitions: int,
        sequence: int,
        live: bool,
        naming: Naming | None = None,
    ) -> None:
        self._source = source
        self._partition = partition
        self._partitions = partitions
        self._sequence = sequence
        self._live = live
        self._naming = naming
        self._relayed: list[Relayed] = []

    @property
    def count(self) -> int:
        """How many records are kept."""
        return len(self._relayed)

    def put(self, output: Output | RawOutput | Forwarded) -> None:
        """Encode an output after those before it.

        Raises:
            InvalidRecordError: it is larger than a topic takes; its cause is a dead letter.
        """
        if not self._live or not self._is_named(output):
            return
        self._sequence += 1
        relayed = self._encode(output, self._sequence)
        if len(relayed.value) > OUTPUT_MAX_BYTES:
            raise InvalidRecordError("output too large", f"{len(relayed.value)} bytes")
        self._relayed.append(relayed)

    def _is_named(self, output: Output | RawOutput | Forwarded) -> bool:
        """Whether an output is none of the kinds that only come back when somebody names them."""
        naming = self._naming
        if naming is None or not isinstance(output, Output) or output.type not in naming.kinds:
            return True
        return output.type in naming.named(output.cause.snapshot)

    def encoded(self) -> bytes:
        """Return all of them as an outbox row holds them."""
        return encode_relayed(self._relayed)

    def _encode(self, output: Output | RawOutput | Forwarded, sequence: int) -> Relayed:
        if isinstance(output, Forwarded):
            return self._again(output.record, sequence)
        key = output.customer.encode()
        if isinstance(output, RawOutput):
            return Relayed(output.topic, output.partition, sequence, key, output.value, is_raw=True)
        own = output.customer == output.cause.record.subject
        target = self._partition if own else partition_of(key, self._partitions)
        return Relayed(
            output.topic, target, sequence, key, codec.encode(self._event(output, sequence))
        )

    def _again(self, record: CloudEvent, sequence: int) -> Relayed:
        key = record.subject.encode()
        target = partition_of(key, self._partitions)
        placed = msgspec.structs.replace(
            record, source=self._source, sequence=spell_sequence(sequence)
        )
        return Relayed(CUSTOMER_EVENTS, target, sequence, key, codec.encode(placed))

    def _event(self, output: Output, sequence: int) -> CloudEvent:
        cause = output.cause
        record = cause.record
        depth = record.chaindepth if isinstance(record.chaindepth, int) else 0
        return CloudEvent(
            id=output.id,
            source=self._source,
            type=output.type,
            subject=output.customer,
            time=output.time,
            workspace=record.workspace,
            recordedtime=cause.at,
            definitionsrevision=cause.snapshot.revision,
            causationid=record.id,
            correlationid=record.correlationid,
            chaindepth=depth + 1 if output.type in INTERNAL_KINDS else record.chaindepth,
            sequence=spell_sequence(sequence),
            data=output.data,
        )


async def insert(session: Session, partition: int, row: OutboxRow) -> None:
    """Write an outbox row inside the transaction that caused it."""
    await session.execute(_INSERT, (partition, row.sequence_first, row.first_offset, row.records))


class Relay:
    """Appends one partition's outbox rows in order; used by the partition's owner alone."""

    def __init__(
        self,
        session: Session,
        producer: LogAppender,
        reader: Callable[[str], LogReader],
        *,
        projection: str,
        partition: int,
    ) -> None:
        self._session = session
        self._producer = producer
        self._reader = reader
        self._partition = partition
        self._source = source_of(projection, partition)
        self._targets: dict[tuple[str, int], int] = {}

    async def recover(self) -> None:
        """Append what an earlier owner left, passing over what it had appended after all.

        What was noted and lost with a crashed server is found again so; a note of what is appended
        waits for no disk, therefore. That a target is used does wait: it says where to look.
        """
        await self._session.execute(_FLUSH_LATER)
        rows = await (await self._session.execute(_RELAYS, (self._partition,))).fetchall()
        self._targets = {(row[0], row[1]): row[2] for row in rows}
        found = await (await self._session.execute(_PENDING, (self._partition,))).fetchall()
        pending = [
            OutboxRow(sequence_first=first, first_offset=offset, records=records)
            for first, offset, records in found
        ]
        if not pending:
            return
        sequences = {each.value: each.sequence for row in pending for each in _decode(row.records)}
        appended = {
            target: await self._last_appended(*target, offset, sequences)
            for target, offset in list(self._targets.items())
        }
        for row in pending:
            await self.send(row, appended=appended)

    async def send(
        self, row: OutboxRow, *, appended: dict[tuple[str, int], int] | None = None
    ) -> None:
        """Append a row's records and forget the row once all are acknowledged.

        Args:
            appended: last sequence that already stands in each target.

        Raises:
            OutcomeUnknownError, KafkaUnavailableError: call ``recover`` and go on from there.
        """
        done = {} if appended is None else appended
        for target, records in _by_target(_decode(row.records)).items():
            await self._expect(target)
            missing = [r for r in records if r.sequence > done.get(target, 0)]
            if missing:
                self._targets[target] = await self._append(target, missing)
        topics = list(self._targets)
        await self._session.execute(
            _RELAYED,
            {
                "partition": self._partition,
                "first": row.sequence_first,
                "topics": [topic for topic, _ in topics],
                "targets": [target for _, target in topics],
                "offsets": [self._targets[each] for each in topics],
            },
        )

    async def _append(self, target: tuple[str, int], records: Sequence[Relayed]) -> int:
        topic, partition = target
        acks = await self._producer.append(
            topic,
            partition,
            [Outgoing(record.key, record.value, self._headers(record)) for record in records],
            deadline_seconds=APPEND_SECONDS,
        )
        ack, count = acks[-1]
        return ack.base_offset + count

    def _headers(self, record: Relayed) -> tuple[tuple[str, bytes], ...]:
        if not record.is_raw:
            return ()
        sequence = spell_sequence(record.sequence).encode()
        return (SOURCE_HEADER, self._source.encode()), (SEQUENCE_HEADER, sequence)

    async def _expect(self, target: tuple[str, int]) -> None:
        """Note where a target ends before the first record of ours goes there."""
        if target in self._targets:
            return
        topic, partition = target
        consumer = self._reader(topic)
        await consumer.assign({partition: 0})
        try:
            end = (await consumer.end_offsets([partition]))[partition]
        finally:
            await consumer.stop()
        await self._session.execute(_EXPECT, (self._partition, topic, partition, end))
        self._targets[target] = end

    async def _last_appended(
        self, topic: str, partition: int, offset: int, sequences: Mapping[bytes, int]
    ) -> int:
        """Find which of our pending values stands last in a target, from an offset on; 0: none.

        Where it ends is noted with the row: whoever joins the topic reads until there. A value
        tells its record: it bears an id, and no two outputs share one.
        """
        consumer = self._reader(topic)
        await consumer.assign({partition: offset})
        last = 0
        try:
            end = (await consumer.end_offsets([partition]))[partition]
            begin = (await consumer.begin_offsets([partition]))[partition]
            if begin > offset:  # the topic's retention went past what was noted
                consumer.seek(partition, offset := begin)
            while offset < end:
                for found in await consumer.poll(partition, records_max=SCAN_RECORDS_MAX):
                    offset = found.offset + 1
                    if sequences.get(found.value, 0) > last:
                        last = sequences[found.value]
                        self._targets[topic, partition] = offset
        finally:
            await consumer.stop()
        return last


def _by_target(records: Iterable[Relayed]) -> dict[tuple[str, int], list[Relayed]]:
    grouped: dict[tuple[str, int], list[Relayed]] = {}
    for record in records:
        grouped.setdefault((record.topic, record.target), []).append(record)
    return grouped
