"""What must be true of a run that has come to rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from contracts import codec
from contracts.cloudevent import SEQUENCE_HEADER, SOURCE_HEADER
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel.batch import Committed
from projections.kernel.compare import table_digests
from projections.kernel.generations import Generation
from projections.kernel.projection import Projection
from services.runtime.kafka.consumer import Incoming
from services.runtime.postgres import Session
from tests.conformance.building import Build, KnownDefinitions, relayed_by
from tests.conformance.logs import PARTITIONS, Log
from tests.simulation.broker import Broker
from tests.simulation.reminded import BROKEN

Sequenced = dict[tuple[str, int, str], list[tuple[int, bytes]]]
"""Sequence and value of each output record in order, by topic, partition and source."""


class BrokenError(AssertionError):
    """A run ended in a state that must not be."""


async def judge(
    projection: Projection[Any],
    definitions: KnownDefinitions,
    broker: Broker,
    sessions: dict[int, tuple[Generation, Session]],
    poisoned: set[tuple[int, int]],
) -> None:
    """Compare what two generations and the topics hold with one plain fold of the log.

    Args:
        sessions: of the generation that was live at first, the one beside it, and the empty one
            to fold into, each in its schema.
        poisoned: places that nobody can read.

    Raises:
        BrokenError: with a sentence for each thing that is wrong.
    """
    log = Log()
    log.partitions = {
        each: list(broker.records(CUSTOMER_EVENTS, each)) for each in range(PARTITIONS)
    }
    generation, session = sessions[3]
    build = Build(projection, generation, session, definitions, live=True)
    expected = await _folded(build, log)
    faults = [*_outputs_differ(projection.name, expected, broker)]
    digests = await table_digests(session, generation.schema)
    for number in (1, 2):
        other, reading = sessions[number]
        found = await table_digests(reading, other.schema)
        faults += [
            f"{table} of generation {number} differs from a rebuild: {found.get(table)}"
            for table in digests
            if digests[table] != found.get(table)
        ]
        faults += [f"generation {number}: {law}" for law in await projection.verify(reading)]
    faults += await _letters_differ(session, poisoned)
    if faults:
        raise BrokenError("\n".join(faults))


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


async def _folded(build: Build[Any], log: Log) -> Sequenced:
    """Fold the log without any haste or harm; answers what that puts out."""
    commits: list[Committed] = []
    for partition, records in log.partitions.items():
        applier = await build.claim(partition)
        if records:
            commits += await applier.apply(build.held[partition], records)
    outputs: Sequenced = {}
    for partition in range(PARTITIONS):
        mine = [each for each in commits if each.checkpoint.partition == partition]
        for relayed in relayed_by(mine):
            source = f"{build.projection.name}/{partition}"
            told = outputs.setdefault((relayed.topic, relayed.target, source), [])
            told.append((relayed.sequence, relayed.value))
    return outputs


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
