"""The activity of a workspace as a stream tells it: every entry once, through any break."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from contracts.errors import RefusedError
from contracts.events import CustomEvent
from contracts.identifiers import FactKey, derive, event_id
from projections.customers import queries
from projections.customers.projection import Customers
from services.runtime.postgres import Session, connect
from services.runtime.sealing import MasterKey
from tests.conformance.building import new_build
from tests.conformance.logs import START, WORKSPACE, Log, customer_number

CUSTOMERS = 7
EVENTS = 150
LOOK = 5  # entries at once: less than a record turn brings


def _told(count: int, shown: datetime | None = None) -> Log:
    """Customers' reviews; on a test clock that shows ``shown`` at first, and goes on halfway."""
    log = Log()
    for number in range(count):
        if shown is not None and number % (count // 2) == 0:
            shown += timedelta(days=number)
            log.show(shown)
        event = event_id(FactKey(derive("review", str(number))))
        review = CustomEvent(event="left_review", event_id=event, occurred_at=START)
        log.tell(customer_number(number % CUSTOMERS), review, after_ms=number % 2)
    return log


@pytest.mark.parametrize("shown", [None, START - timedelta(days=300), START + timedelta(days=300)])
@pytest.mark.parametrize("seed", range(3))
async def test_a_stream_that_breaks_at_any_entry_tells_each_once(
    database: str, seed: int, shown: datetime | None
) -> None:
    log, order = _told(EVENTS, shown), random.Random(seed)
    heard: list[str] = []
    async with new_build(Customers(MasterKey(b"m" * 32)), database) as build:
        control = await connect(database)
        read = (control, build.generation.schema, WORKSPACE)
        place = (await queries.new_activity(*read, None, limit=LOOK)).place
        while waiting := build.pending(log):
            partition = order.choice(sorted(waiting))
            await build.apply(partition, waiting[partition][: order.randint(1, 20)])
            found = await queries.new_activity(*read, place, limit=LOOK)
            kept = found.entries[: order.randint(0, LOOK)]  # the connection breaks behind them
            heard += [each.entry.id for each in kept]
            place = kept[-1].place if kept else place if found.entries else found.place
        heard += await _all_from(read, place)

        whole = await queries.workspace_activity(*read, limit=queries.LIMIT_MAX)
        await control.close()

    assert len(heard) == len(set(heard)) == EVENTS + CUSTOMERS
    assert set(heard) == {each.id for each in whole.data}
    for partition in log.partitions:
        of_it = f"activity_{partition}_"
        oldest_first = [each.id for each in reversed(whole.data) if each.id.startswith(of_it)]
        assert [each for each in heard if each.startswith(of_it)] == oldest_first


async def _all_from(read: tuple[Session, str, str], place: str) -> list[str]:
    heard: list[str] = []
    while True:
        found = await queries.new_activity(*read, place, limit=LOOK)
        assert found.has_more == (len(found.entries) == LOOK)
        heard += [each.entry.id for each in found.entries]
        place = found.place
        if not found.has_more:
            return heard


@pytest.mark.parametrize("place", ["", "!", "AAAA", "ö", "x" * 500])
async def test_a_place_of_nobodys_is_refused(database: str, place: str) -> None:
    async with new_build(Customers(MasterKey(b"m" * 32)), database) as build:
        schema = build.generation.schema
        with pytest.raises(RefusedError):
            await queries.new_activity(build.session, schema, WORKSPACE, place, limit=LOOK)
