"""What must hold of a running system once all is calm: everything once, and provably so.

Each claim is checked against what the producers know, by plain arithmetic of the test's own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from uuid import UUID

import msgspec

from contracts import codec
from contracts.cloudevent import SEQUENCE_HEADER, SOURCE_HEADER
from contracts.places import parse_position
from contracts.topics import CUSTOMER_EVENTS, LOYALTY_ENTRIES, WEBHOOKS
from tests.support.chaos import Inside
from tests.support.shops import Fact

EVENTS_READ = 40  # read over HTTP one by one; all are compared in the tables


class Told(msgspec.Struct, frozen=True):
    """The part of a record's data that names its fact."""

    event_id: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a message that is counted."""

    id: str
    data: MessageData


class MessageData(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a message's data that names its fact."""

    event: MessageEvent


class MessageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The event that set a message off."""

    id: str


def assert_nothing_is_lost_or_doubled(inside: Inside, facts: list[Fact]) -> None:
    """Check all that was told against log, tables, outputs and rebuilds."""
    assert_every_position_stands(inside, facts)
    assert_every_fact_is_known(inside, facts)
    assert_points_are_exact(inside, facts)
    assert_entries_are_told_once(inside)
    assert_messages_are_told_once(inside, facts)
    for projection in ("loyalty", "customers", "dispatcher"):
        inside.assert_rebuild_equals_live(projection)


def assert_every_position_stands(inside: Inside, facts: list[Fact]) -> None:
    """What was answered with a position stands there in the log."""
    log = {
        (record.partition, record.offset): record.value
        for record in inside.records(CUSTOMER_EVENTS)
    }
    for fact in facts:
        assert fact.positions, f"{fact.name} was told"
        for text in fact.positions:
            position = parse_position(text)
            record = codec.decode_record(log[position.partition, position.offset])
            assert msgspec.json.decode(record.data, type=Told).event_id == fact.event_id


def assert_every_fact_is_known(inside: Inside, facts: list[Fact]) -> None:
    """Each fact stands at the customer who holds it, in tables and over HTTP."""
    rows = inside.rows_of(
        "customers",
        "SELECT 'event_' || replace(fact::text, '-', ''), customer FROM events WHERE NOT withdrawn",
    )
    holders = {str(event): customer for event, customer in rows}
    customers = _customers(inside)
    wrong = {
        fact.name: (fact.body, holders.get(fact.event_id))
        for fact in facts
        if holders.get(fact.event_id) != customers[fact.customer]
    }
    assert wrong == {}
    for fact in facts[:: max(1, len(facts) // EVENTS_READ)]:
        answer = inside.upshot.request("GET", f"/v1/events/{fact.event_id}")
        assert answer.status == 200, (fact, answer.body)


def assert_points_are_exact(inside: Inside, facts: list[Fact]) -> None:
    """What stands in the ledger for each fact and rule is what the fact is worth, at one member."""
    customers = _customers(inside)
    expected: dict[tuple[str, object, str], int] = {
        (fact.event_id, customers[fact.customer], rule): points
        for fact in facts
        for rule, points in fact.points.items()
    }
    names = {fact.event_id for fact in facts}
    rows = inside.rows_of(
        "loyalty",
        "SELECT 'event_' || replace(fact::text, '-', ''), customer, rule, sum(points)::bigint"
        " FROM entries GROUP BY 1, 2, 3",
    )
    found = {
        (str(event), customer, str(rule)): int(str(points))
        for event, customer, rule, points in rows
        if event in names and points
    }
    wrong = {
        key: (expected.get(key), found.get(key))
        for key in {*expected, *found}
        if expected.get(key) != found.get(key)
    }
    assert wrong == {}
    _assert_entries_have_one_cause(inside)
    _assert_balances_follow(inside)


def _assert_entries_have_one_cause(inside: Inside) -> None:
    """No entry is reversed twice, and of one fact and rule at most one is not reversed."""
    rows = inside.rows_of(
        "loyalty", "SELECT customer, reverses FROM entries WHERE reverses IS NOT NULL"
    )
    assert [entry for (_, entry), count in Counter(rows).items() if count > 1] == []
    standing = inside.rows_of(
        "loyalty",
        "SELECT customer, fact, rule, count(*) FROM entries e"
        " WHERE reverses IS NULL AND NOT EXISTS (SELECT FROM entries r"
        " WHERE r.customer = e.customer AND r.reverses = e.entry)"
        " GROUP BY 1, 2, 3 HAVING count(*) > 1",
    )
    assert standing == []


def _assert_balances_follow(inside: Inside) -> None:
    """Each member's balance is the sum of the member's entries."""
    rows = inside.rows_of(
        "loyalty",
        "SELECT m.customer, m.available, sum(e.points) FROM members m"
        " JOIN entries e USING (workspace, customer, program)"
        " GROUP BY m.workspace, m.customer, m.program HAVING m.available <> sum(e.points)",
    )
    assert rows == []


def assert_entries_are_told_once(inside: Inside) -> None:
    """A consumer that follows the sequence rule applies each entry once, and misses none."""
    last: dict[str, int] = defaultdict(int)
    applied: list[str] = []
    for found in inside.records(LOYALTY_ENTRIES):
        record = codec.decode_record(found.value)
        assert isinstance(record.sequence, str), "what an outbox relays has a sequence"
        sequence = int(record.sequence)
        if sequence <= last[record.source]:
            assert record.id in applied, "what is passed over was applied before"
            continue
        assert sequence == last[record.source] + 1, f"{record.source} misses one"
        last[record.source] = sequence
        applied.append(record.id)
    rows = inside.rows_of(
        "loyalty", "SELECT 'entry_' || replace(entry::text, '-', '') FROM entries"
    )
    assert Counter(applied) == Counter(str(entry) for (entry,) in rows)


def assert_messages_are_told_once(inside: Inside, facts: list[Fact]) -> None:
    """A consumer that follows the sequence rule has one message of each fact that sends one."""
    by_id: dict[str, bytes] = {}
    events: Counter[str] = Counter()
    last: dict[bytes, int] = defaultdict(int)
    for found in inside.records(WEBHOOKS):
        message = msgspec.json.decode(found.value, type=Message)
        headers = dict(found.headers)
        source, sequence = headers[SOURCE_HEADER], int(headers[SEQUENCE_HEADER])
        if sequence <= last[source]:
            assert by_id[message.id] == found.value, "what is passed over was applied before"
            continue
        assert sequence == last[source] + 1, f"{source!r} misses one"
        last[source] = sequence
        assert message.id not in by_id, "what is new has an id of its own"
        by_id[message.id] = found.value
        events[message.data.event.id] += 1
    expected = {fact.event_id for fact in facts if fact.tells}
    told = {event: count for event, count in events.items() if event in expected}
    assert told == dict.fromkeys(expected, 1)
    assert not {fact.event_id for fact in facts if not fact.tells} & events.keys()
    rows = inside.rows("SELECT 'msg_' || replace(id::text, '-', '') FROM deliveries.messages")
    assert by_id.keys() == {str(message) for (message,) in rows}


def _customers(inside: Inside) -> dict[str, UUID]:
    rows = inside.rows("SELECT value, customer FROM upshot.identities WHERE kind = 'source_id'")
    found: dict[str, UUID] = {}
    for name, customer in rows:
        assert isinstance(customer, UUID), "customers are known by uuid"
        found[str(name)] = customer
    return found
