"""Records that were written decode for ever, and nothing of them is lost on the way.

A golden record is never edited: a new form of a record is a new file beside it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from contracts import administration, codec, effects, events, merges, redrives, requests
from contracts.profiles import same_json
from projections.kernel.dead_letters import DEAD_LETTER, DeadLetterData

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))

DATA_OF: dict[str, type[msgspec.Struct]] = {
    events.CUSTOM_EVENT: events.CustomEvent,
    events.PROFILE_CHANGED: events.ProfileChanged,
    events.EVENT_WITHDRAWN: events.EventWithdrawn,
    merges.CUSTOMER_MERGED: merges.CustomerMerged,
    requests.ADJUST_REQUESTED: requests.AdjustRequested,
    requests.JOIN_REQUESTED: requests.JoinRequested,
    administration.DEFINITION_CHANGED: administration.DefinitionChanged,
    administration.OPERATION_REQUESTED: administration.OperationRequested,
    administration.OPERATION_ENDED: administration.OperationEnded,
    effects.LOYALTY_ENTRY: effects.LoyaltyEntry,
    redrives.DEAD_LETTER_DISCARDED: redrives.DeadLetterDiscarded,
    DEAD_LETTER: DeadLetterData,
}

every_golden_record = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


@every_golden_record
def test_a_golden_record_decodes_and_encodes_to_the_same_value(path: Path) -> None:
    written = path.read_bytes()

    record = codec.decode_record(written)

    assert same_json(codec.decode_json(codec.encode(record)), codec.decode_json(written))


@every_golden_record
def test_the_data_of_a_golden_record_decodes_and_encodes_to_the_same_value(path: Path) -> None:
    record = codec.decode_record(path.read_bytes())

    told = codec.decoder(DATA_OF[record.type]).decode(record.data)

    assert same_json(codec.decode_json(codec.encode(told)), codec.decode_json(record.data))


@every_golden_record
def test_what_is_encoded_once_encodes_to_the_same_bytes_again(path: Path) -> None:
    record = codec.decode_record(path.read_bytes())
    once = codec.encode(
        msgspec.structs.replace(record, data=codec.raw(codec.decode_json(record.data)))
    )

    assert codec.encode(codec.decode_record(once)) == once


def test_every_record_type_has_a_golden_record() -> None:
    types = {codec.decode_record(path.read_bytes()).type for path in GOLDEN}

    assert types == set(DATA_OF)
