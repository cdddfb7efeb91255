"""Commands on points over HTTP, decided by loyalty in the log: one effect a key in any case."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest

from contracts.codec import decode_record
from contracts.identifiers import CustomerId
from contracts.requests import ADJUST_REQUESTED, request_id
from contracts.topics import CUSTOMER_EVENTS, LOYALTY_ENTRIES
from projections.kernel.rows import customer_uuid
from projections.loyalty.projection import Loyalty
from services.api import decisions
from services.runtime.kafka.errors import OutcomeUnknownError
from services.runtime.postgres import connect
from tests.integration.api_process import RunningApi, running_api
from tests.support.eventually import eventually
from tests.support.kernel import Log, live_loyalty, purchase, reading
from tests.unit.api.asgi import Answer

POINTS = 5
PROGRAM = {
    "earning_rules": [{"id": "order", "on": {"event": "order.completed"}, "points": POINTS}],
}
CONNECTIONS = 32


class System(msgspec.Struct, frozen=True):
    """The api beside loyalty's live generation, which runs while ``loyalty`` does."""

    running: RunningApi
    log: Log
    database: str

    @asynccontextmanager
    async def loyalty(self) -> AsyncGenerator[None]:
        async with reading(self.log, self.database, await live_loyalty(self.database)):
            yield

    async def customer(self, source_id: str = "alex") -> CustomerId:
        """Register a customer."""
        customer = CustomerId(f"cust_{uuid.uuid4().hex}")
        key = customer_uuid(customer)
        async with self.running.api.session() as session:
            await session.execute(
                "INSERT INTO upshot.customer_keys VALUES ('demo', %s::uuid, '')", (key,)
            )
            await session.execute(
                "INSERT INTO upshot.identities VALUES ('demo', 'source_id', %s, %s::uuid)",
                (source_id, key),
            )
        return customer

    async def adjust(
        self, customer: str, points: object, key: str | None = "k", program: str = "club"
    ) -> Answer:
        headers = {} if key is None else {"idempotency_key": key}
        path = f"/v1/loyalty/{program}/members/{customer}/adjust"
        return await self.running.admin.post(path, {"points": points, "reason": "gift"}, **headers)

    async def join(self, customer: str, key: str, program: str = "inner") -> Answer:
        path = f"/v1/loyalty/{program}/members"
        return await self.running.admin.post(path, {"customer": customer}, idempotency_key=key)

    async def available(self, customer: str, program: str = "club") -> int:
        answer = await self.running.admin.get(f"/v1/loyalty/{program}/members/{customer}")
        return answer.json()["points"]["available"]

    async def appended(self) -> list[str]:
        """Ids of the requests in the log."""
        records = [msgspec.json.decode(r.value) for r in await self.log.read(CUSTOMER_EVENTS)]
        return [each["id"] for each in records if each["type"].startswith("points.")]

    async def has_appended(self) -> bool:
        return bool(await self.appended())

    async def entries(self) -> list[str] | None:
        """Ids of the entries on their topic, once there are some."""
        records = await self.log.read(LOYALTY_ENTRIES)
        return [msgspec.json.decode(each.value)["id"] for each in records] or None


@pytest.fixture
async def system(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[System]:
    async with running_api(kafka, database, topic_prefix) as running:
        admin = running.admin
        assert (await admin.put("/v1/definitions/event_type/order.completed", {})).status == 200
        inner = {**PROGRAM, "join": "explicit", "negative_balance": "refuse"}
        for name, program in (("club", PROGRAM), ("inner", inner)):
            made = await admin.put(f"/v1/definitions/loyalty_program/{name}", program)
            assert made.status == 200
        await live_loyalty(database)
        yield System(running, Log(kafka, topic_prefix, running.api.producer), database)


async def test_an_adjustment_is_answered_with_its_entry(system: System) -> None:
    customer = await system.customer()
    async with system.loyalty():
        answer = await system.adjust("alex", 40)
        there = await system.running.admin.get(
            f"/v1/loyalty/club/members/{customer}/entries",
            upshot_wait_for=answer.headers["upshot-position"],
        )
        outputs = await eventually(system.entries)

    entry = answer.json()
    assert answer.status == 200
    assert (entry["kind"], entry["points"], entry["rule"]) == ("adjusted", 40, "")
    assert entry["caused_by"] == request_id("demo", "k")
    assert entry["position"] == answer.headers["upshot-position"]
    assert there.json()["data"] == [entry]
    assert outputs == [entry["id"]]


async def test_the_same_key_answers_the_same_and_appends_nothing_more(system: System) -> None:
    customer = await system.customer()
    async with system.loyalty():
        first = await system.adjust(customer, 40)
        by_source_id = await system.adjust("alex", 40)
        quoted = await system.adjust(customer, 40, '"k"')

    answers = (first, by_source_id, quoted)
    assert {each.status for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert len({each.headers["upshot-position"] for each in answers}) == 1
    assert await system.available(customer) == 40
    assert await system.appended() == [request_id("demo", "k")]


async def test_the_same_key_with_another_command_is_a_conflict(system: System) -> None:
    customer = await system.customer()
    other = await system.customer("kim")
    async with system.loyalty():
        first = await system.adjust(customer, 40)
        more = await system.adjust(customer, 41)
        elsewhere = await system.adjust(customer, 40, program="inner")
        of_another = await system.adjust(other, 40)
        joining = await system.join(customer, "k", program="club")

    assert first.status == 200
    for refused in (more, elsewhere, of_another, joining):
        assert refused.status == 409
        assert refused.json()["type"].endswith(":idempotency-key-reused")
    assert await system.available(customer) == 40
    assert await system.available(other) == 0


async def test_a_refusal_is_answered_again_also_when_it_would_be_granted_now(
    system: System,
) -> None:
    customer = await system.customer()
    async with system.loyalty():
        assert (await system.join(customer, "j")).status == 200
        refused = await system.adjust(customer, -10, "r", program="inner")
        assert (await system.adjust(customer, 20, "g", program="inner")).status == 200
        again = await system.adjust(customer, -10, "r", program="inner")
        granted = await system.adjust(customer, -10, "r2", program="inner")

    assert (refused.status, again.status, granted.status) == (422, 422, 200)
    assert refused.json()["type"] == again.json()["type"] == "urn:upshot:problem:negative-balance"
    assert await system.available(customer, "inner") == 10


async def test_who_joins_an_explicit_program_earns_from_then_on(system: System) -> None:
    customer = await system.customer()
    async with system.loyalty():
        stranger = await system.adjust(customer, 10, "early", program="inner")
        await system.log.append(customer, purchase(customer, "one"))
        joined = await system.join("alex", "j")
        await system.log.append(customer, purchase(customer, "two"))
        await eventually(lambda: _has(system, customer, "club", 2 * POINTS))
        again = await system.join(customer, "j")
        anew = await system.join(customer, "j2")

    assert stranger.json()["type"].endswith(":not-a-member")
    assert joined.status == 200
    assert joined.json()["customer"] == customer
    assert joined.json()["points"]["available"] == 0
    assert again.content == joined.content
    assert anew.json()["points"]["available"] == POINTS
    assert await system.available(customer, "inner") == POINTS


async def _has(system: System, customer: str, program: str, points: int) -> bool:
    return await system.available(customer, program) == points


async def test_many_connections_with_one_key_have_one_effect(system: System) -> None:
    customer = await system.customer()
    async with system.loyalty():
        answers = await asyncio.gather(*(system.adjust("alex", 7) for _ in range(CONNECTIONS)))
        others = await asyncio.gather(
            *(system.adjust("alex", 1, f"other-{number}") for number in range(CONNECTIONS))
        )

    assert {each.status for each in (*answers, *others)} == {200}
    assert len({each.content for each in answers}) == 1
    assert len({each.content for each in others}) == CONNECTIONS
    assert await system.available(customer) == 7 + CONNECTIONS
    assert (await system.appended()).count(request_id("demo", "k")) == 1


async def test_of_two_commands_under_one_key_at_once_one_is_a_conflict(system: System) -> None:
    customer = await system.customer()
    async with system.loyalty():
        answers = await asyncio.gather(*(system.adjust(customer, points) for points in (3, 4, 5)))

    granted = [each.json()["points"] for each in answers if each.status == 200]
    assert sorted(each.status for each in answers) == [200, 409, 409]
    assert [await system.available(customer)] == granted


async def test_with_loyalty_away_the_outcome_is_unknown_and_the_key_is_safe(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await system.customer()
    monkeypatch.setattr(decisions, "COMMAND_SECONDS", 0.3)
    unknown = [await system.adjust(customer, 40), await system.adjust(customer, 40)]
    monkeypatch.undo()

    async with system.loyalty():
        known = await system.adjust(customer, 40)
        again = await system.adjust(customer, 40)

    for each in unknown:
        assert each.status == 503
        assert each.json()["type"].endswith(":outcome-unknown")
        assert "same Idempotency-Key is safe" in each.json()["detail"]
        assert each.headers["retry-after"]
    assert (known.status, known.content) == (200, again.content)
    assert await system.available(customer) == 40
    assert len(await system.appended()) > 1, "the retries stood in the log too"


async def test_who_waits_for_the_same_command_waits_to_the_end_of_their_own_time(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await system.customer()
    monkeypatch.setattr(decisions, "COMMAND_SECONDS", 1.0)
    first = asyncio.create_task(system.adjust(customer, 40))
    await eventually(system.has_appended)
    monkeypatch.setattr(decisions, "COMMAND_SECONDS", 30.0)
    second = asyncio.create_task(system.adjust(customer, 40))
    unknown = await first
    async with system.loyalty():
        known = await second

    assert (unknown.status, known.status) == (503, 200)
    assert await system.appended() == [request_id("demo", "k")]


async def test_an_append_without_acknowledgement_is_unknown_at_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await system.customer()

    async def unacknowledged(*_: object, **__: object) -> None:
        raise OutcomeUnknownError("customer.events")

    monkeypatch.setattr(system.running.api.producer, "append_all", unacknowledged)
    answer = await system.adjust(customer, 40)

    assert (answer.status, answer.json()["type"]) == (503, "urn:upshot:problem:outcome-unknown")
    assert "same Idempotency-Key is safe" in answer.json()["detail"]


async def test_what_is_not_there_is_404_and_appends_nothing(system: System) -> None:
    customer = await system.customer()

    assert (await system.adjust("nobody", 1)).status == 404
    assert (await system.adjust(f"cust_{'0' * 32}", 1)).status == 404
    assert (await system.adjust(customer, 1, program="gone")).status == 404
    assert (await system.join("nobody", "k")).status == 404
    assert await system.appended() == []


@pytest.mark.parametrize("points", [0, 1.5, "5", True, None, 10**12 + 1, -(10**12) - 1])
async def test_points_are_whole_and_bounded(system: System, points: object) -> None:
    answer = await system.adjust(await system.customer(), points)

    assert answer.status == 400
    assert answer.json()["errors"][0]["pointer"] == "/points"


@pytest.mark.parametrize("key", [None, "", "x" * 129, '""'])
async def test_a_command_needs_a_key_of_1_to_128_characters(
    system: System, key: str | None
) -> None:
    answer = await system.adjust(await system.customer(), 5, key)

    assert answer.status == 400
    assert "Idempotency-Key" in answer.content.decode()


async def test_commands_need_their_scope(system: System) -> None:
    made = await system.running.admin.post(
        "/v1/keys", {"name": "reader", "scopes": ["customers:read"]}
    )
    reader = system.running.admin.with_key(made.json()["secret"])

    answer = await reader.post("/v1/loyalty/club/members", {"customer": "x"}, idempotency_key="k")

    assert answer.status == 403
    assert "loyalty:write" in answer.json()["detail"]


async def test_the_laws_of_the_ledger_hold_after_commands(system: System) -> None:
    customer = await system.customer()
    async with system.loyalty():
        await system.log.append(customer, purchase(customer, "one"))
        for number, points in enumerate((40, -70, 5, -1)):
            assert (await system.adjust(customer, points, f"k{number}")).status == 200
        assert (await system.join(customer, "j")).status == 200
    totals = (await system.running.admin.get("/v1/loyalty/club")).json()
    generation = await live_loyalty(system.database)
    session = await connect(system.database, schema=generation.schema)
    try:
        broken = await Loyalty().verify(session)
    finally:
        await session.close()

    assert broken == []
    assert totals["issued"] == totals["earned"] + totals["adjusted"] - totals["reversed"]
    assert totals["adjusted"] == 40 - 70 + 5 - 1


async def test_a_command_on_a_test_clock_is_recorded_at_what_the_clock_shows(
    system: System,
) -> None:
    admin = system.running.admin
    await admin.put("/v1/definitions/workspace/demo", {"clock": "test"})
    moved = await admin.post("/v1/clock", {"to": "2031-01-01T00:00:00Z"})
    customer = await system.customer()
    async with system.loyalty():
        answer = await system.adjust(customer, 40)

    assert (moved.status, answer.status) == (200, 200)
    assert answer.json()["at"] == moved.json()["now"] == "2031-01-01T00:00:00Z"
    records = [decode_record(each.value) for each in await system.log.read(CUSTOMER_EVENTS)]
    (request,) = [each for each in records if each.type == ADJUST_REQUESTED]
    shown = datetime(2031, 1, 1, tzinfo=UTC)
    assert (request.time, request.recordedtime) == (shown, shown)
