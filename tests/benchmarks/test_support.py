"""The harness itself: goals, the file's sections, what the generator and the endpoint count."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.benchmarks.support.driving import driven
from tests.benchmarks.support.figures import Figure, at_least, at_most, judged
from tests.benchmarks.support.load import Plan, quantile
from tests.benchmarks.support.processes import (
    ChildFailedError,
    answered,
    listening,
    python,
    running,
)
from tests.benchmarks.support.purchases import VALUE_BYTES, purchases, total
from tests.benchmarks.support.receiver import Receipts
from tests.benchmarks.support.report import written
from tests.benchmarks.support.rounds import Round, Taken
from tests.benchmarks.support.servers import free_port

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_a_goal_on_a_ratio_is_judged_by_the_ratio() -> None:
    ours = Figure(name="a", value=90, unit="events/s", goal=at_least(0.85), ratio_to="b")
    peer = Figure(name="b", value=100, unit="events/s")

    lines = judged([ours, peer])

    assert [(line.ratio, line.met) for line in lines] == [(0.9, True), (None, None)]


def test_a_goal_on_a_ratio_is_open_while_the_peer_was_not_measured() -> None:
    ours = Figure(name="a", value=90, unit="events/s", goal=at_least(0.85), ratio_to="b")

    assert judged([ours])[0].met is None


def test_a_latency_above_its_goal_misses_it() -> None:
    assert judged([Figure(name="p99", value=151, unit="ms", goal=at_most(150))])[0].met is False


def test_a_section_written_again_replaces_itself_and_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "BENCHMARKS.md"
    written(file, "kernel", [Figure(name="old", value=1, unit="events/s")], NOON)
    written(file, "gateway", [Figure(name="kept", value=2, unit="events/s", note="why")], NOON)

    written(file, "kernel", [Figure(name="new", value=3, unit="events/s")], NOON)

    text = file.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["gateway", "kernel"]
    assert "| new | 3.00 | events/s |" in text and "| kept | 2.00 |" in text
    assert "| old |" not in text and "- kept: why" in text
    assert "2026-01-02 12:00 UTC" in text


def test_a_quantile_is_a_value_that_occurred() -> None:
    ordered = [float(number) for number in range(1, 101)]

    assert [quantile(ordered, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([], 0.5) == 0.0


def test_purchases_have_their_size_and_sum() -> None:
    values = [value for _, value in purchases(250)]

    assert {len(value) for value in values} == {VALUE_BYTES}
    amounts = [msgspec.json.decode(value, type=dict[str, object])["amount"] for value in values]
    assert amounts == [number % 100 + 1 for number in range(250)]
    assert total(250) == 2 * 5050 + 1275


async def test_the_endpoint_counts_what_the_generator_sent_at_a_rate(tmp_path: Path) -> None:
    port = free_port()
    argv = python("tests.benchmarks.support.receiver", str(port))
    bodies = [b'{"type":"x","metadata":{"serial":%d}}' % number for number in range(1_000)]
    plan = Plan(
        port=port,
        path="/",
        bodies=bodies,
        connections=4,
        warmup_seconds=0.1,
        seconds=0.5,
        rate=200.0,
        answered_at=True,
    )

    async with running(argv, scratch=tmp_path, name="receiver") as child:
        await listening(child, port)
        result = await driven(plan, scratch=tmp_path)
        child.process.terminate()
        printed, _ = await child.process.communicate()

    receipts = msgspec.json.decode(printed, type=Receipts)
    assert receipts.requests == sum(result.statuses.values()) == result.statuses["200"]
    assert sorted(receipts.received_at) == list(range(receipts.requests))
    assert all(
        receipts.received_at[index] <= answered_at
        for index, answered_at in enumerate(result.answered_at)
    )
    assert result.answered == pytest.approx(100, abs=5)


async def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no such thing')"]

    with pytest.raises(ChildFailedError, match="no such thing"):
        await answered(argv, scratch=tmp_path, name="failing", seconds=10.0)


def test_a_ratio_of_two_sides_is_taken_within_each_round() -> None:
    ours, peer = _taken(90, 45, 95), _taken(100, 50, 100)

    assert ours.ratio_to(peer) == pytest.approx(0.9)
    assert ours.events_per_second == 90


def test_a_ratio_measured_in_pairs_outranks_that_of_the_values() -> None:
    ours = Figure(name="a", value=80, unit="x", goal=at_least(0.85), ratio_to="b", ratio=0.9)

    assert judged([ours, Figure(name="b", value=100, unit="x")])[0].met is True


def _taken(*rates: float) -> Taken:
    return Taken(
        rounds=[
            Round(
                events_per_second=rate,
                server_microseconds=1.0,
                p50_ms=1.0,
                p99_ms=2.0,
                generator_share=0.1,
            )
            for rate in rates
        ]
    )
