"""Reading a batch: what stands twice is passed over, what is known never goes back."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from contracts import codec
from contracts.cloudevent import CloudEvent, spell_sequence
from contracts.events import CUSTOM_EVENT, CustomEvent, EventData, EventWithdrawn
from contracts.identifiers import FactKey, derive, event_id
from projections.kernel.checkpoint import Checkpoint, Progress
from projections.kernel.errors import InvalidRecordError
from projections.kernel.records import Decoded, Ending, Letters, Reading
from projections.kernel.records import read as read_for
from services.runtime.kafka.consumer import Incoming

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
CUSTOMER = "cust_" + "0a" * 16
KEY = FactKey(derive("order", "one"))
ORDER = CustomEvent(event="order", event_id=event_id(KEY), identified="external")
START = Checkpoint(
    partition=0,
    next_offset=0,
    owner_epoch=1,
    record_id=None,
    logical_time=NOON,
    progress=Progress(),
    live=True,
)


def incoming(
    offset: int,
    *,
    told: EventData = ORDER,
    kind: str = CUSTOM_EVENT,
    seconds: int = 0,
    revision: int = 1,
    sequence: int | None = None,
) -> Incoming:
    record = CloudEvent(
        id=f"record-{offset}",
        source="gateway" if sequence is None else "customers/0",
        type=kind,
        subject=CUSTOMER,
        time=NOON,
        workspace="demo",
        recordedtime=NOON,
        definitionsrevision=revision,
        sequence=msgspec.UNSET if sequence is None else spell_sequence(sequence),
        data=codec.raw(told),
    )
    return Incoming(0, offset, NOON_MS + seconds * 1000, CUSTOMER.encode(), codec.encode(record))


def read(old: Checkpoint, records: list[Incoming], *standing: int) -> Reading:
    """Read for the projection ``loyalty``, whose letters at these offsets stand open."""
    places = frozenset((offset, "") for offset in standing)
    return read_for(old, records, Letters(projection="loyalty", standing=places))


def redrive(offset: int, of: str, *, projection: str = "loyalty", seconds: int = 0) -> Incoming:
    died = incoming(offset, seconds=seconds, revision=9)
    record = codec.decode_record(died.value)
    again = msgspec.structs.replace(record, redriveof=of, redrivefor=projection)
    return Incoming(0, offset, died.appended_at_ms, died.key, codec.encode(again))


def offsets(decoded: list[Decoded]) -> list[int]:
    return [each.offset for each in decoded]


def test_a_relayed_record_that_stands_twice_is_read_once() -> None:
    reading = read(
        START, [incoming(0, sequence=1), incoming(1, sequence=2), incoming(2, sequence=1)]
    )

    assert offsets(reading.decoded) == [0, 1]
    assert reading.checkpoint.progress.sources == {"customers/0": 2}
    assert reading.checkpoint.next_offset == 3


def test_a_sequence_that_an_earlier_batch_read_is_passed_over() -> None:
    first = read(START, [incoming(0, sequence=7)])

    second = read(first.checkpoint, [incoming(1, sequence=7), incoming(2, sequence=8)])

    assert offsets(second.decoded) == [2]


def test_logical_time_and_revision_in_force_never_go_back() -> None:
    reading = read(START, [incoming(0, seconds=5, revision=3), incoming(1, seconds=2, revision=1)])

    later = NOON + timedelta(seconds=5)
    assert [(each.at, each.revision) for each in reading.decoded] == [(later, 3), (later, 3)]
    assert reading.checkpoint.logical_time == later
    assert reading.checkpoint.progress.revisions == {"demo": 3}


def test_a_record_of_an_unknown_type_moves_the_checkpoint_only() -> None:
    reading = read(START, [incoming(0), incoming(1, kind="customer.enlightened")])

    assert offsets(reading.decoded) == [0]
    assert reading.checkpoint.record_id == "record-1"


def test_a_named_event_and_its_withdrawal_are_about_the_same_fact() -> None:
    withdrawn = EventWithdrawn(event_id=event_id(KEY), last_offset=0, held_by="cust_" + "0b" * 16)

    reading = read(
        START, [incoming(0), incoming(1, told=withdrawn, kind="customer.event_withdrawn")]
    )

    assert [each.fact for each in reading.decoded] == [("demo", CUSTOMER, KEY)] * 2


def test_an_event_without_a_name_is_about_no_stored_fact() -> None:
    unnamed = msgspec.structs.replace(ORDER, identified=None)

    reading = read(START, [incoming(0, told=unnamed)])

    assert [each.fact for each in reading.decoded] == [None]


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}"])
def test_what_is_no_record_is_its_own_fault(value: bytes) -> None:
    with pytest.raises(InvalidRecordError):
        read(START, [Incoming(0, 0, NOON_MS, b"", value)])


def test_a_redrive_is_read_once_and_only_where_its_letter_stands_open() -> None:
    records = [redrive(5, "customer.events/0/3"), redrive(6, "customer.events/0/3")]

    unknown, known = read(START, records), read(START, records, 3)

    ending = Ending(offset=5, letter=(3, ""), state="redriven")
    assert (offsets(unknown.decoded), list(unknown.ended)) == ([], [])
    assert [each.letter for each in unknown.asked] == [(3, ""), (3, "")]
    assert (offsets(known.decoded), list(known.ended)) == ([5], [ending])


def test_a_redrive_for_another_projection_moves_time_and_definitions_only() -> None:
    reading = read(START, [redrive(5, "customer.events/0/3", projection="other", seconds=7)], 3)

    assert (reading.decoded, list(reading.asked)) == ([], [])
    assert reading.checkpoint.logical_time == NOON + timedelta(seconds=7)
    assert reading.checkpoint.progress.revisions == {"demo": 9}


@pytest.mark.parametrize("position", ["", "3", "customer.events/1/3", "definitions/0/3"])
def test_a_redrive_of_what_is_not_in_its_partition_is_its_own_fault(position: str) -> None:
    with pytest.raises(InvalidRecordError):
        read(START, [redrive(5, position)])
