"""Events, batches and customers through a real gateway into a real log."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from collections.abc import AsyncGenerator

import msgspec
import pytest
import pytest_asyncio

from contracts.codec import JsonObject, encode
from contracts.events import CustomEvent, ProfileChanged, SealedProfile
from contracts.identifiers import CustomerId, WorkspaceName
from contracts.places import parse_position
from services.gateway.bounds import REVISION_WAIT_SECONDS
from services.runtime import problems
from services.runtime.postgres import connect
from services.runtime.problems import Problem, ProblemDocument
from services.runtime.sealing import KeyRing, MasterKey, unseal
from tests.support.gateway import (
    MASTER_KEY,
    WORKSPACE,
    Answer,
    Gateway,
    define,
    gateway_settings,
    prepare,
    running_gateway,
)
from tests.support.servers import fresh_database

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(kafka: str, postgres: str) -> AsyncGenerator[Gateway]:
    with fresh_database(postgres) as database:
        settings = gateway_settings(kafka, database, f"t{uuid.uuid4().hex[:12]}-")
        await prepare(settings)
        async with running_gateway(settings) as running:
            yield running


def someone() -> str:
    """A source id that nobody else has."""
    return f"person-{uuid.uuid4().hex}"


def event(source_id: str | None = None, **fields: object) -> dict[str, object]:
    return {
        "event": "signed_up",
        "customer": {"source_id": source_id or someone()},
        **fields,
    }


def purchase(source_id: str) -> dict[str, object]:
    """An event with every field."""
    return event(
        event="order.completed",
        customer={
            "source_id": source_id,
            "email": f" {source_id.upper()}@Domain.io",
            "name": "Alex Doe",
            "phone": None,
            "metadata": {"VIP": True},
        },
        metadata={"amount": 149.99, "note": "ring twice"},
        occurred_at="2026-01-21T10:30:00+01:00",
        external_id=f"order-{source_id}",
        goal_type="purchase",
        goal_name="web",
        goal_value=149.99,
        deleted_at=None,
        referral={"code": "NRY-01"},
        loyalty={"code": "CARD-7"},
    )


async def told(gateway: Gateway, answer: Answer) -> CustomEvent:
    record = await gateway.record(answer.position)
    return msgspec.json.decode(record.data, type=CustomEvent)


async def profile_of(gateway: Gateway, sealed: str, customer: str) -> SealedProfile:
    session = await connect(gateway.settings.postgres)
    owner = CustomerId(customer)
    ring = KeyRing(MasterKey.parse(MASTER_KEY))
    keys = await ring.keys(session, WorkspaceName(WORKSPACE), [owner])
    await session.close()
    return msgspec.json.decode(unseal(keys[owner], owner, sealed), type=SealedProfile)


def customer_of(answer: Answer) -> JsonObject:
    customer = answer.json["customer"]
    assert isinstance(customer, dict)
    return customer


def slugs(answer: Answer) -> list[tuple[str, str]]:
    errors = msgspec.json.decode(answer.body)["errors"]
    return [(each["pointer"], each["code"]) for each in errors]


async def test_an_accepted_event_stands_in_the_log_at_the_answered_position(
    gateway: Gateway,
) -> None:
    source_id = someone()
    sent = purchase(source_id)

    answer = await gateway.post("/v1/events", sent)

    assert answer.status == 200, answer.body
    body = answer.json
    assert list(body) == [
        "object", "id", "type", "customer", "referral", "loyalty", "metadata", "occurred_at",
        "created_at", "external_id", "position",
    ]  # fmt: skip
    assert body["position"] == answer.headers["Upshot-Position"]
    assert body["occurred_at"] == "2026-01-21T09:30:00Z"
    assert customer_of(answer) == {
        "object": "customer",
        "id": customer_of(answer)["id"],
        "source_id": source_id,
        "email": f"{source_id}@domain.io",
        "name": "Alex Doe",
        "metadata": {"VIP": True},
    }
    record = await gateway.record(answer.position)
    custom = msgspec.json.decode(record.data, type=CustomEvent)
    assert (record.type, record.source) == ("customer.custom_event", "gateway")
    assert record.subject == customer_of(answer)["id"]
    assert record.definitionsrevision >= 2
    assert custom.event_id == body["id"]
    assert str(custom.goal_value) == "149.99"
    assert bytes(custom.metadata) == b'{"amount":149.99}'
    assert custom.deleted_at is None
    assert b"Alex" not in bytes(record.data)
    assert b"ring twice" not in bytes(record.data)
    assert custom.profile is not None and custom.profile.sealed is not None
    profile = await profile_of(gateway, custom.profile.sealed, record.subject)
    assert (profile.email, profile.name) == (f"{source_id}@domain.io", "Alex Doe")


async def test_a_newer_version_and_a_resend_have_the_same_id(gateway: Gateway) -> None:
    who = someone()

    first = await gateway.post("/v1/events", event(who, external_id=who))
    newer = await gateway.post("/v1/events", event(who, external_id=who, metadata={"a": 1}))
    own = await gateway.post("/v1/events", event(who, id=f"own-{who}"))
    header = await gateway.post(
        "/v1/events", event(who), headers={"Idempotency-Key": f'"own-{who}"'}
    )

    assert first.json["id"] == newer.json["id"]
    assert own.json["id"] == header.json["id"] != first.json["id"]
    assert (await told(gateway, header)).identified == "producer"


async def test_an_id_that_differs_from_the_idempotency_key_is_refused(gateway: Gateway) -> None:
    answer = await gateway.post(
        "/v1/events", event(id="one"), headers={"Idempotency-Key": "another"}
    )

    assert answer.status == 400
    assert slugs(answer) == [("/id", "conflict")]


async def test_a_customer_is_the_same_by_id_source_id_or_email(gateway: Gateway) -> None:
    who = someone()
    both = {"source_id": who, "email": f"{who}@b.c"}

    by_email = await gateway.post("/v1/events", event(customer={"email": f"{who}@B.c"}))
    linked = await gateway.post("/v1/customers", both)
    by_source = await gateway.post("/v1/events", event(who))
    by_id = await gateway.post("/v1/events", event(customer={"id": linked.json["id"]}))

    assert linked.status == 200, linked.body
    expected = linked.json["id"]
    assert [customer_of(each)["id"] for each in (by_email, by_source, by_id)] == [expected] * 3


async def test_an_email_of_another_customer_stays_there_with_a_warning(gateway: Gateway) -> None:
    one, other = someone(), someone()
    shared = f"{one}@b.c"

    first = await gateway.post("/v1/events", event(customer={"source_id": one, "email": shared}))
    second = await gateway.post("/v1/events", event(customer={"source_id": other, "email": shared}))
    again = await gateway.post("/v1/events", event(customer={"email": shared}))

    assert second.status == 200
    assert customer_of(first)["id"] == customer_of(again)["id"] != customer_of(second)["id"]
    warnings = msgspec.json.decode(second.body)["warnings"]
    assert [each["pointer"] for each in warnings] == ["/customer/email"]
    custom = await told(gateway, second)
    assert custom.profile is not None and custom.profile.sealed is not None
    sealed = await profile_of(gateway, custom.profile.sealed, str(customer_of(second)["id"]))
    assert sealed.email is None


@pytest.mark.parametrize("unknown", ["cust_" + "0" * 32, "somebody", "cust_"])
async def test_an_unknown_customer_id_is_not_found(gateway: Gateway, unknown: str) -> None:
    answer = await gateway.post("/v1/events", event(customer={"id": unknown}))

    assert answer.status == 404
    assert slugs(answer) == [("/customer/id", "unknown")]


async def test_a_dry_run_says_what_would_be_and_leaves_nothing(gateway: Gateway) -> None:
    who, before = someone(), await gateway.count_records()

    fine = await gateway.post("/v1/events?dry_run=true", event(who, external_id=who))
    bad = await gateway.post("/v1/events?dry_run=true", event(who, event="undefined"))

    assert fine.status == 200
    assert (fine.json["dry_run"], fine.json["position"]) == (True, None)
    assert customer_of(fine)["id"] is None
    assert bad.status == 400
    assert await gateway.count_records() == before
    session = await connect(gateway.settings.postgres)
    rows = await (
        await session.execute("SELECT 1 FROM identities WHERE value = %s", (who,))
    ).fetchall()
    await session.close()
    assert rows == []


async def test_a_batch_answers_each_event_by_itself(gateway: Gateway) -> None:
    before = await gateway.count_records()
    people = [someone() for _ in range(3)]
    events = [event(people[n % 3], external_id=f"{people[0]}-{n}") for n in range(20)]
    events[7] = event(customer={})
    events[9] = event(customer={"id": "nobody"})

    answer = await gateway.post("/v1/events/batch", events)
    refused = await gateway.post("/v1/events/batch?results=refused", events)

    assert answer.status == 200, answer.body
    assert (answer.json["accepted"], answer.json["refused"]) == (18, 2)
    results = msgspec.json.decode(answer.body)["results"]
    assert [each["index"] for each in results] == list(range(20))
    assert results[7]["problem"]["errors"][0]["pointer"] == "/customer"
    assert results[9]["problem"]["status"] == 404
    assert [each["index"] for each in msgspec.json.decode(refused.body)["results"]] == [7, 9]
    assert await gateway.count_records() == before + 36
    first = [each for each in results if each["index"] % 3 == 0 and "position" in each]
    offsets = [parse_position(each["position"]).offset for each in first]
    assert offsets == sorted(offsets), "the order of a customer's events is kept"
    record = await gateway.record(parse_position(first[1]["position"]))
    custom = msgspec.json.decode(record.data, type=CustomEvent)
    assert custom.external_id == events[first[1]["index"]]["external_id"]


async def test_each_form_of_a_batch_is_taken(gateway: Gateway) -> None:
    events = [event(), event()]
    lines = b"\n".join(encode(each) for each in events)
    wrapped = encode({"events": events, "historical": True})

    as_lines = await gateway.post(
        "/v1/events/batch", lines, headers={"Content-Type": "application/x-ndjson"}
    )
    as_object = await gateway.post("/v1/events/batch", wrapped)
    packed = await gateway.post(
        "/v1/events/batch", gzip.compress(encode(events)), headers={"Content-Encoding": "gzip"}
    )

    assert [each.json["accepted"] for each in (as_lines, as_object, packed)] == [2, 2, 2]
    place = msgspec.json.decode(as_object.body)["results"][0]["position"]
    record = await gateway.record(parse_position(place))
    assert msgspec.json.decode(record.data, type=CustomEvent).historical


async def test_a_changed_customer_stands_in_the_log(gateway: Gateway) -> None:
    who = someone()
    given = {"source_id": who, "email": f"{who}@b.c", "name": "Alex", "metadata": {"a": 1}}

    first = await gateway.post("/v1/customers", given)
    cleared = await gateway.post("/v1/customers", {"source_id": who, "email": None, "name": None})
    heir = await gateway.post("/v1/events", event(customer={"email": f"{who}@b.c"}))

    assert first.status == 200
    assert first.json["metadata"] == {"a": 1}
    record = await gateway.record(cleared.position)
    changed = msgspec.json.decode(record.data, type=ProfileChanged)
    assert record.type == "customer.profile_changed"
    assert set(changed.profile.clears) == {"email", "name"}
    assert customer_of(heir)["id"] != first.json["id"], "a cleared email is free again"


async def test_a_cleared_email_given_again_is_claimed_again(gateway: Gateway) -> None:
    who = someone()
    spelled = {"source_id": who, "email": f"{who}@b.c"}

    first = await gateway.post("/v1/events", event(customer=spelled))
    await gateway.post("/v1/customers", {"source_id": who, "email": None})
    heir = await gateway.post("/v1/events", event(customer={"email": f"{who}@b.c"}))
    again = await gateway.post("/v1/events", event(customer=spelled))

    assert customer_of(first)["id"] == customer_of(again)["id"] != customer_of(heir)["id"]
    assert "email" not in customer_of(again)


async def test_one_new_customer_in_many_requests_at_once_is_one(gateway: Gateway) -> None:
    who = someone()
    spellings = [
        {"source_id": who},
        {"email": f"{who}@b.c", "source_id": who},
        {"source_id": who, "name": "Alex"},
    ]

    answers = await asyncio.gather(
        *(gateway.post("/v1/events", event(customer=spellings[n % 3])) for n in range(30))
    )

    assert len({str(customer_of(each)["id"]) for each in answers}) == 1


async def test_an_event_is_judged_by_the_revision_asked_for_or_a_newer_one(
    gateway: Gateway,
) -> None:
    waiting = asyncio.create_task(
        gateway.post(
            "/v1/events",
            event(event="left_review"),
            headers={"Upshot-Definitions-Revision": "3"},
        )
    )
    await asyncio.wait([waiting], timeout=0.3)

    await define(gateway.settings, [("event_type", "left_review", {})], first_revision=3)

    assert (await waiting).status == 200
    assert (await gateway.record((await waiting).position)).definitionsrevision == 3


async def test_a_field_whose_name_no_text_may_hold_refuses_its_own_event_only(
    gateway: Gateway,
) -> None:
    good = encode(event())
    fields = b'{"event":"signed_up","customer":{"source_id":"a"},"\\ud800":1}'
    nested = b'{"event":"signed_up","customer":{"source_id":"a","\\ud800":{"\\ud800":1}}}'

    one = await gateway.post("/v1/events", fields)
    customer = await gateway.post("/v1/customers", b'{"source_id":"a","\\ud800":1}')
    wrapper = await gateway.post("/v1/events/batch", b'{"events":[' + good + b'],"\\ud800":1}')
    batch = await gateway.post(
        "/v1/events/batch", b"[" + b",".join((good, fields, nested, good)) + b"]"
    )

    for refused in (one, customer, wrapper):
        assert refused.status == 400
        assert refused.json["request_id"] == refused.headers["X-Request-Id"]
        assert [pointer for pointer, _ in slugs(refused)] == ["/?"]
    assert batch.status == 200
    assert (batch.json["accepted"], batch.json["refused"]) == (2, 2)
    assert b'"pointer":"/customer/?"' in batch.body


async def test_a_refusal_that_cannot_be_spelled_hides_nothing_of_a_batch(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    spell = problems.document

    def broken(problem: Problem, request_id: str) -> ProblemDocument:
        assert problem.slug == "internal-error", "no other can be spelled"
        return spell(problem, request_id)

    monkeypatch.setattr(problems, "document", broken)

    batch = await gateway.post("/v1/events/batch", [event(), event(more=1)])
    one = await gateway.post("/v1/events", event(more=1))

    assert (batch.status, one.status) == (200, 500)
    assert (batch.json["accepted"], batch.json["refused"]) == (1, 1)
    assert one.headers["Content-Type"] == problems.MEDIA_TYPE
    assert one.json["request_id"] == one.headers["X-Request-Id"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch", "/v1/customers"])
async def test_a_revision_that_does_not_exist_is_told_so_soon(gateway: Gateway, path: str) -> None:
    async with asyncio.timeout(2 * REVISION_WAIT_SECONDS):
        answer = await gateway.post(
            path, b"[{}]", headers={"Upshot-Definitions-Revision": "1000000"}
        )

    assert answer.status == 409
    assert answer.json["type"] == "urn:upshot:problem:revision-unknown"
    assert "Revision 1000000" in str(answer.json["detail"])
