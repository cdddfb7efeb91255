"""The bytes of records."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from contracts import codec
from contracts.events import CustomEvent, Profile, ProfileChanged
from contracts.identifiers import CustomerId, WorkspaceName, event_id, fact_key
from services.gateway.admission import Admitted, admit
from services.gateway.identity import Identity
from services.gateway.records import Stamp, event_record, profile_record
from services.runtime.sealing import new_key, unseal
from tests.support.gateway_events import NOW, definitions, text

WORKSPACE = WorkspaceName("demo")
OWNER = Identity(CustomerId("cust_" + "1" * 32), new_key(), 12, 0.0)


def stamp(*, historical: bool = False) -> Stamp:
    return Stamp(workspace=WORKSPACE, revision=7, accepted_at=NOW, historical=historical)


def admitted(**fields: object) -> Admitted:
    return admit(text(**fields), definitions(), NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"occurred_at": "2026-11-21T09:30:00.123456+02:00", "deleted_at": None},
        {"external_id": 'quote " and é', "metadata": {"a": 1.50}, "historical": True},
        {"goal_type": "purchase", "goal_value": -3, "referral": {"code": "x"}},
        {"id": "mine", "loyalty": {"code": "y"}, "deleted_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_record_is_what_the_codec_makes_of_its_structs(fields: dict[str, object]) -> None:
    event, shared = admitted(**fields), stamp()

    written = event_record(event, shared.event_id(event), OWNER, Profile(sealed="x"), shared)

    record = codec.decode_record(written)
    told = msgspec.json.decode(record.data, type=CustomEvent)
    assert codec.encode(msgspec.structs.replace(record, data=codec.raw(told))) == written
    assert record.subject == OWNER.customer
    assert record.workspace == "demo"
    assert record.definitionsrevision == 7
    assert record.recordedtime == NOW
    assert record.time == (told.occurred_at or NOW)
    assert record.correlationid == record.id


def test_a_profile_record_is_what_the_codec_makes_of_its_structs() -> None:
    written = profile_record(Profile(sealed="x", clears=("name",)), OWNER, stamp())

    record = codec.decode_record(written)
    assert record.type == "customer.profile_changed"
    assert codec.encode(record) == written
    assert msgspec.json.decode(record.data, type=ProfileChanged).profile.clears == ("name",)


def test_records_of_a_request_have_ids_of_their_own() -> None:
    event, shared = admitted(), stamp()

    written = [event_record(event, shared.event_id(event), OWNER, None, shared) for _ in range(9)]

    ids = {codec.decode_record(each).id for each in written}
    assert len(ids) == 9
    assert all(len(each) == 36 and each[14] == "7" for each in ids)


def test_an_event_is_named_by_its_external_id_else_by_its_own_id() -> None:
    both = admitted(external_id="order é", id="mine")
    own = admitted(id="mine")

    by_external = fact_key("demo", "signed_up", external_id="order é", producer_id=None)
    by_own = fact_key("demo", "signed_up", external_id=None, producer_id="mine")
    assert by_external is not None and by_own is not None
    assert stamp().event_id(both) == event_id(by_external)
    assert stamp().event_id(own) == event_id(by_own)
    assert stamp().event_id(admitted()) != stamp().event_id(admitted())


def test_personal_properties_stand_sealed() -> None:
    event = admitted(event="order.completed", metadata={"amount": 5, "note": "ring twice"})

    written = event_record(event, stamp().event_id(event), OWNER, None, stamp())

    told = msgspec.json.decode(codec.decode_record(written).data, type=CustomEvent)
    assert bytes(told.metadata) == b'{"amount":5}'
    assert told.sealed is not None and OWNER.sealing_key is not None
    assert unseal(OWNER.sealing_key, OWNER.customer, told.sealed) == b'{"note":"ring twice"}'


def test_a_historical_request_makes_each_record_historical() -> None:
    event, shared = admitted(), stamp(historical=True)

    written = event_record(event, shared.event_id(event), OWNER, None, shared)

    assert msgspec.json.decode(codec.decode_record(written).data, type=CustomEvent).historical


def test_an_instant_is_written_in_utc() -> None:
    event = admitted(occurred_at="2026-11-21T10:30:00+01:00")

    assert event.occurred_at == datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    assert b'"2026-11-21T09:30:00Z"' in event_record(
        event, stamp().event_id(event), OWNER, None, stamp()
    )
