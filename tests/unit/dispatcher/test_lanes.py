"""Lanes: what is wanted, started and given back, without any I/O."""

from __future__ import annotations

from decimal import Decimal
from math import inf
from uuid import UUID

from contracts.definitions.endpoints import Endpoint
from services.dispatcher.claims import Claimed, Exchange
from services.dispatcher.deliveries import EndpointKey
from services.dispatcher.lanes import AHEAD_MAX, START_SECONDS_MAX, Lanes

KEY = EndpointKey("demo", "crm")


def _endpoint(concurrency: int = 2, rate: Decimal | None = None) -> Endpoint:
    return Endpoint(
        name="crm",
        url="https://crm.example/",
        header_digests={},
        secret_digest=None,
        concurrency=concurrency,
        rate_per_second=rate,
        ordered=True,
    )


def _lanes(endpoint: Endpoint | None = None) -> Lanes:
    known = {KEY: _endpoint() if endpoint is None else endpoint}
    return Lanes(known.get)


def _claimed(number: int) -> Claimed:
    return Claimed(
        delivery=UUID(int=number), endpoint=KEY, message="msg_1", body=b"{}", attempts_made=0
    )


def _exchange(count: int, *, more: bool = False, slow: float | None = None) -> Exchange:
    return Exchange(
        claimed=[_claimed(number) for number in range(count)],
        more=frozenset({KEY} if more else ()),
        slow={} if slow is None else {KEY: slow},
    )


def test_nothing_is_wanted_of_an_endpoint_that_nobody_announced() -> None:
    lanes = _lanes()

    assert lanes.wants(0) == []
    assert lanes.next_look() == inf


def test_no_more_is_wanted_than_the_endpoint_takes() -> None:
    lanes = _lanes()
    lanes.announce([KEY], 0)

    [want] = lanes.wants(0)

    assert want.count == 2


def test_no_more_start_than_the_endpoint_takes() -> None:
    lanes = _lanes()
    lanes.announce([KEY], 0)
    lanes.wants(0)
    lanes.take(_exchange(3), (), 0)

    assert len(lanes.start(KEY)) == 2
    assert lanes.start(KEY) == []

    lanes.finish(KEY, 0.01)
    assert len(lanes.start(KEY)) == 1


def test_a_quick_endpoint_is_claimed_ahead_of_and_a_slow_one_is_not() -> None:
    lanes = _lanes()
    lanes.announce([KEY], 0)
    lanes.wants(0)
    lanes.take(_exchange(2, more=True), (), 0)
    lanes.start(KEY)

    lanes.finish(KEY, 0.001)
    [quick] = lanes.wants(0)
    lanes.announce([KEY], 0)
    for _ in range(100):
        lanes.take(_exchange(1), (), 0)
        lanes.start(KEY)
        lanes.finish(KEY, 15.0)
    [slow] = lanes.wants(0)

    assert 100 < quick.count <= AHEAD_MAX + 2
    assert slow.count == 1


def test_at_a_limited_rate_nothing_is_claimed_ahead() -> None:
    lanes = _lanes(_endpoint(rate=Decimal("0.5")))
    lanes.announce([KEY], 0)
    lanes.wants(0)
    lanes.take(_exchange(1), (), 0)
    lanes.start(KEY)
    lanes.finish(KEY, 0.001)
    lanes.announce([KEY], 0)

    [want] = lanes.wants(0)

    assert (want.count, want.rate_per_second) == (2, 0.5)


def test_an_endpoint_that_must_wait_for_its_rate_is_asked_again_after_it() -> None:
    lanes = _lanes()
    lanes.announce([KEY], 0)
    lanes.wants(0)
    lanes.take(_exchange(0, slow=0.25), (), 10)

    assert lanes.wants(10.2) == []
    assert lanes.next_look() == 10.25
    assert len(lanes.wants(10.25)) == 1


def test_what_is_announced_while_a_transaction_runs_is_looked_for_after_it() -> None:
    lanes = _lanes()
    lanes.announce([KEY], 0)
    lanes.wants(0)

    lanes.announce([KEY], 1)
    lanes.take(_exchange(0), (), 2)

    assert len(lanes.wants(2)) == 1


def test_a_full_lane_does_not_ask_to_be_looked_at() -> None:
    lanes = _lanes()
    lanes.announce([KEY], 0)
    lanes.wants(0)
    lanes.take(_exchange(2, more=True), (), 0)
    lanes.start(KEY)

    assert lanes.next_look() == inf
    assert lanes.wants(0) == []


def test_what_a_slow_endpoint_does_not_take_is_given_back() -> None:
    lanes = _lanes()
    lanes.announce([KEY], 0)
    lanes.wants(0)
    lanes.take(_exchange(3), (), 0)
    lanes.start(KEY)

    assert lanes.take_back(START_SECONDS_MAX) == []
    assert len(lanes.take_back(START_SECONDS_MAX + 1)) == 1


def test_an_endpoint_that_is_not_defined_is_not_asked_for() -> None:
    nothing: dict[EndpointKey, Endpoint] = {}
    lanes = Lanes(nothing.get)
    lanes.announce([KEY], 0)

    assert lanes.wants(0) == []
    assert lanes.next_look() == inf
