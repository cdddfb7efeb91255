"""What must be true of a run that has come to rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

import msgspec
from msgspec import UNSET

from contracts import codec
from contracts.cloudevent import SEQUENCE_HEADER, SOURCE_HEADER
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel import checkpoint as checkpoints
from projections.kernel.batch import Applier
from projections.kernel.compare import table_digests
from projections.kernel.errors import AwaitedError
from projections.kernel.joins import Joins
from projections.kernel.outbox import Relayed
from projections.kernel.projection import Forwarding
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session
from tests.conformance.building import KnownDefinitions
from tests.conformance.logs import PARTITIONS
from tests.simulation.broker import Broker, SimulatedConsumer
from tests.simulation.ground import Part
from tests.simulation.processes import Process
from tests.simulation.reminded import BROKEN

Sequenced = dict[tuple[str, int, str], list[tuple[int, bytes]]]
"""Sequence and value of each output record in order, by topic, partition and source."""


_OUTBOX: LiteralString = "SELECT partition, records FROM outbox ORDER BY partition, sequence_first"
_relayed = msgspec.msgpack.Decoder(list[Relayed])


class BrokenError(AssertionError):
    """A run ended in a state that must not be."""


class Verdict:
    """About one projection of a run."""

    def __init__(
        self, part: Part, definitions: KnownDefinitions, broker: Broker, judging: Process
    ) -> None:
        self._part = part
        self._definitions = definitions
        self._broker = broker
        self._judging = judging

    async def judge(self, sessions: Sequence[Session], poisoned: set[tuple[int, int]]) -> None:
        """Compare what two generations and the topics hold with one plain fold of the log.

        Args:
            sessions: one in the schema of each of the part's generations.
            poisoned: places that nobody can read.

        Raises:
            BrokenError: with a sentence for each thing that is wrong.
        """
        *others, rebuilt = zip(self._part.generations, sessions, strict=True)
        projection, (generation, session) = self._part.projection, rebuilt
        expected = await self._folded(session)
        faults = [*self._outputs_differ(expected)]
        digests = await table_digests(session, generation.schema)
        for other, reading in others:
            found = await table_digests(reading, other.schema)
            faults += [
                f"{table} of {other.schema} differs from a rebuild: {found.get(table)}"
                for table in digests
                if digests[table] != found.get(table)
            ]
            faults += [f"{other.schema}: {law}" for law in await projection.verify(reading)]
        faults += await _letters_differ(session, poisoned)
        if faults:
            raise BrokenError("\n".join(faults))

    async def _folded(self, session: Session) -> Sequenced:
        """Fold the log without any haste or harm; answers what that puts out."""
        appliers = {each: await self._applier(session, each) for each in range(PARTITIONS)}
        waiting = set(appliers)
        while waiting:
            ended = {each for each in waiting if await self._apply(session, appliers[each], each)}
            assert ended, "partitions wait for each other"
            waiting -= ended
        outputs: Sequenced = {}
        for partition, records in await (await session.execute(_OUTBOX)).fetchall():
            source = f"{self._part.projection.name}/{partition}"
            for relayed in _relayed.decode(records):
                told = outputs.setdefault((relayed.topic, relayed.target, source), [])
                told.append((relayed.sequence, relayed.value))
        return self._comparable(outputs)

    def _comparable(self, outputs: Sequenced) -> Sequenced:
        """Drop the sequences of who passes late records on: batches decide what comes between."""
        if not isinstance(self._part.projection, Forwarding):
            return outputs
        return {
            place: [(0, _without_sequence(value)) for _, value in told]
            for place, told in outputs.items()
        }

    async def _applier(self, session: Session, partition: int) -> Applier[Any]:
        await checkpoints.claim(session, partition)
        return Applier(
            self._part.projection,
            session,
            self._definitions,
            live=True,
            partition=partition,
            partitions=PARTITIONS,
            joins=Joins(self._reader, partition),
        )

    async def _apply(self, session: Session, applier: Applier[Any], partition: int) -> bool:
        """Apply a partition as far as it goes; answers whether that is to its end."""
        held = await checkpoints.read(session, partition)
        log = self._broker.records(CUSTOMER_EVENTS, partition)
        while held.next_offset < len(log):
            try:
                commits = await applier.apply(held, log[held.next_offset :])
            except AwaitedError:  # what another partition has not passed yet
                applier.forget()
                return False
            held = commits[-1].checkpoint
        return True

    def _outputs_differ(self, expected: Sequenced) -> Iterable[str]:
        """Say where a consumer that follows the sequence rule sees something else."""
        found: Sequenced = {}
        for (topic, partition), records in self._broker.logs().items():
            for source, sequence, record in _sequenced(records):
                if source.startswith(f"{self._part.projection.name}/"):
                    told = found.setdefault((topic, partition, source), [])
                    if not told or sequence > told[-1][0]:
                        told.append((sequence, record.value))
        found = self._comparable(found)
        for place in sorted({*expected, *found}):
            wanted, seen = expected.get(place, []), found.get(place, [])
            if wanted != seen:
                yield (
                    f"{place} has sequences {[each for each, _ in seen]}, "
                    f"not {[each for each, _ in wanted]}"
                    + ("" if [s for s, _ in wanted] != [s for s, _ in seen] else " (values differ)")
                )

    def _reader(self, topic: str) -> SimulatedConsumer:
        return SimulatedConsumer(self._broker, self._judging, topic)


async def _letters_differ(session: Session, poisoned: set[tuple[int, int]]) -> list[str]:
    """Say which dead letters are not those of unreadable records and of the broken customer."""
    letters = await (
        await session.execute(
            "SELECT partition, record_offset, timer, key, reason, detail FROM dead_letters"
        )
    ).fetchall()
    others = [letter for letter in letters if letter[3] != BROKEN.encode()]
    if {(letter[0], letter[1]) for letter in others} == poisoned:
        return []
    return [f"dead letters are {sorted(others)}, not at {sorted(poisoned)}"]


def _without_sequence(value: bytes) -> bytes:
    return codec.encode(msgspec.structs.replace(codec.decode_record(value), sequence=UNSET))


def _sequenced(records: Iterable[Incoming]) -> Iterable[tuple[str, int, Incoming]]:
    for record in records:
        headers = dict(record.headers)
        if SEQUENCE_HEADER in headers:
            yield headers[SOURCE_HEADER].decode(), int(headers[SEQUENCE_HEADER]), record
            continue
        try:
            event = codec.decode_record(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(event.sequence, str):
            yield event.source, int(event.sequence), record
