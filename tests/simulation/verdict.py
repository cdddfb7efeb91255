"""What must be true of a run that has come to rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from contracts import codec
from contracts.cloudevent import SEQUENCE_HEADER, SOURCE_HEADER
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel import checkpoint as checkpoints
from projections.kernel.batch import Applier, Committed
from projections.kernel.compare import table_digests
from projections.kernel.joins import Joins
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session
from tests.conformance.building import KnownDefinitions, relayed_by
from tests.conformance.logs import PARTITIONS
from tests.simulation.broker import Broker, SimulatedConsumer
from tests.simulation.ground import Part
from tests.simulation.processes import Process
from tests.simulation.reminded import BROKEN

Sequenced = dict[tuple[str, int, str], list[tuple[int, bytes]]]
"""Sequence and value of each output record in order, by topic, partition and source."""


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
        faults = [*_outputs_differ(projection.name, expected, self._broker)]
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
        projection, commits = self._part.projection, list[Committed]()
        for partition in range(PARTITIONS):
            held = await checkpoints.claim(session, partition)
            applier = Applier(
                projection,
                session,
                self._definitions,
                live=True,
                partition=partition,
                partitions=PARTITIONS,
                joins=Joins(self._reader, partition),
            )
            records = list(self._broker.records(CUSTOMER_EVENTS, partition))
            if records:
                commits += await applier.apply(held, records)
        outputs: Sequenced = {}
        for commit in commits:
            source = f"{projection.name}/{commit.checkpoint.partition}"
            for relayed in relayed_by([commit]):
                told = outputs.setdefault((relayed.topic, relayed.target, source), [])
                told.append((relayed.sequence, relayed.value))
        return outputs

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


def _outputs_differ(projection: str, expected: Sequenced, broker: Broker) -> Iterable[str]:
    """Say where a consumer that follows the sequence rule sees something else."""
    found: Sequenced = {}
    for (topic, partition), records in broker.logs().items():
        for source, sequence, record in _sequenced(records):
            if source.startswith(f"{projection}/"):
                told = found.setdefault((topic, partition, source), [])
                if not told or sequence > told[-1][0]:
                    told.append((sequence, record.value))
    for place in sorted({*expected, *found}):
        wanted, seen = expected.get(place, []), found.get(place, [])
        if wanted != seen:
            yield (
                f"{place} has sequences {[each for each, _ in seen]}, "
                f"not {[each for each, _ in wanted]}"
                + ("" if [s for s, _ in wanted] != [s for s, _ in seen] else " (values differ)")
            )


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
