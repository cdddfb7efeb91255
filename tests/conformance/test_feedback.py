"""Outcomes that come back: only what is named, what stands once, never for ever."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from contracts import codec
from contracts.cloudevent import CloudEvent
from contracts.internal_events import CHAIN_DEPTH_MAX
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel.failures import DEAD_LETTERS_MAX
from tests.conformance.building import Build, KnownDefinitions, new_build, relayed_by
from tests.conformance.echoing import Customer, Echo, Echoing, Voice
from tests.conformance.logs import WORKSPACE, Log, customer_number
from tests.conformance.test_timers import purchase

ONE: Voice = "customer.badge.granted"
OTHER: Voice = "customer.referral.converted"
NAMED = 2
"""Revision from which both voices are named."""
Voiced = Build[dict[Customer, Echo]]


def definitions() -> KnownDefinitions:
    known = KnownDefinitions()
    known.catalogue.apply(WORKSPACE, 1, "event_type", "order.completed", {})
    known.catalogue.apply(WORKSPACE, NAMED, "event_type", ONE, {})
    known.catalogue.apply(WORKSPACE, NAMED + 1, "event_type", OTHER, {})
    return known


async def answer(log: Log, draw: random.Random, *builds: Voiced) -> None:
    """Apply a log with live generations until nobody has anything more to say."""
    while any(build.pending(log) for build in builds):
        build = draw.choice([each for each in builds if each.pending(log)])
        waiting = build.pending(log)
        partition = draw.choice(sorted(waiting))
        records = waiting[partition]
        commits = await build.apply(partition, records[: draw.randint(1, len(records))])
        for relayed in relayed_by(commits):
            if relayed.topic == CUSTOMER_EVENTS:
                log.append(relayed.key, relayed.value, partition=relayed.target)


def outcomes(log: Log, voice: Voice) -> list[CloudEvent]:
    records = [codec.decode_record(r.value) for each in log.partitions.values() for r in each]
    return [record for record in records if record.type == voice]


async def test_only_kinds_that_a_definition_names_come_back(database: str) -> None:
    log = Log()
    for number in range(4):
        log.tell(customer_number(number), purchase(number), revision=NAMED)
    async with (
        new_build(Echoing(ONE), database, definitions(), live=True) as one,
        new_build(Echoing(OTHER), database, definitions(), live=True) as other,
    ):
        await answer(log, random.Random(1), one, other)

        assert len(outcomes(log, ONE)) == 4
        assert outcomes(log, OTHER) == []
        assert await one.count("dead_letters") == 0


async def test_what_stands_is_stated_once_when_a_kind_is_first_named(database: str) -> None:
    log = Log()
    for number in range(6):
        log.tell(customer_number(number), purchase(number), revision=1)
    for number in range(6):
        log.tell(customer_number(number), purchase(10 + number), revision=NAMED)
    async with (
        new_build(Echoing(ONE), database, definitions(), live=True) as one,
        new_build(Echoing(OTHER), database, definitions(), live=True) as other,
        new_build(Echoing(OTHER), database, definitions()) as rebuilt,
    ):
        await answer(log, random.Random(2), one, other)
        await rebuilt.run(log, batch=2)

        stated = [each for each in outcomes(log, ONE) if b'"is_present":true' in bytes(each.data)]
        assert Counter(each.subject for each in stated) == {
            customer_number(number): 1 for number in range(6)
        }
        assert await rebuilt.rows() == await other.rows()


@pytest.mark.parametrize("seed", range(3))
async def test_rules_that_set_each_other_off_stop_at_the_eighth_link_with_a_dead_letter(
    database: str, seed: int
) -> None:
    log = Log()
    facts = DEAD_LETTERS_MAX + 5  # more chains than dead letters would be borne
    for number in range(facts):
        log.tell(customer_number(number % 3), purchase(number), revision=NAMED + 1)
    async with (
        new_build(Echoing(ONE), database, definitions(), live=True) as one,
        new_build(Echoing(OTHER), database, definitions(), live=True) as other,
        new_build(Echoing(OTHER), database, definitions()) as rebuilt,
    ):
        await answer(log, random.Random(seed), one, other)
        await rebuilt.run(log)

        depths = {each.chaindepth for each in (*outcomes(log, ONE), *outcomes(log, OTHER))}
        assert depths == set(range(1, CHAIN_DEPTH_MAX + 2))
        assert await one.count("dead_letters") == facts
        assert await other.count("dead_letters") == facts
        reasons = await one.session.execute("SELECT DISTINCT reason FROM dead_letters")
        assert await reasons.fetchall() == [("chain too deep",)]
        assert await rebuilt.rows() == await other.rows()
        chains = {each.correlationid for each in outcomes(log, ONE)}
        assert len(chains) <= facts
