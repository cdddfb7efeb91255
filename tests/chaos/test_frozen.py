"""A processor frozen in mid-transaction and woken after others took its partitions."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from contracts.places import Position, parse_position
from tests.support.chaos import READY_SECONDS, SETTLE_SECONDS, Companion, Inside, loyalty_companion
from tests.support.eventually import eventually_sync
from tests.support.shops import Town, sell
from tests.support.upshot import Upshot
from tests.support.verdict import assert_nothing_is_lost_or_doubled

SHOPPERS = 40  # enough that every partition has one
SHOPS = 2

pytestmark = pytest.mark.timeout(400)


class Lock:
    """A lock of the test's own on a checkpoint, which a batch's first statement waits for."""

    def __init__(self, session: psycopg.Connection, inside: Inside) -> None:
        self._session = session
        self._inside = inside

    def waiting(self) -> int:
        """Count who waits for it, one behind the other."""
        pid = self._session.info.backend_pid
        rows = self._inside.rows(
            "WITH RECURSIVE waiting (pid) AS (SELECT %s::int UNION"
            " SELECT a.pid FROM pg_stat_activity a, waiting w"
            " WHERE w.pid = ANY (pg_blocking_pids(a.pid))) SELECT count(*) - 1 FROM waiting",
            pid,
        )
        return int(str(rows[0][0]))

    def release(self) -> None:
        """Let them go on."""
        self._session.rollback()


@contextmanager
def locked_checkpoint(inside: Inside, partition: int) -> Generator[Lock]:
    """Lock loyalty's checkpoint of a partition, as a slow disk would keep a batch waiting."""
    with psycopg.connect(inside.postgres) as session:
        session.execute(
            sql.SQL("SELECT 1 FROM {}.checkpoints WHERE partition = %s FOR UPDATE").format(
                inside.schema("loyalty")
            ),
            (partition,),
        )
        yield Lock(session, inside)


def test_a_processor_woken_after_its_partitions_were_taken_over_changes_nothing(
    upshot: Upshot,
) -> None:
    def freeze_and_wake(second: Companion, lock: Lock, sold: Callable[[], bool]) -> None:
        second.freeze()
        lock.release()  # its statement goes through, and its transaction stays open
        eventually_sync(sold, SETTLE_SECONDS)  # the other process took the partition over
        second.wake()

    _freeze_in_mid_transaction(upshot, freeze_and_wake)


def test_a_processor_woken_while_its_partitions_are_taken_over_changes_nothing_twice(
    upshot: Upshot,
) -> None:
    def freeze_and_wake(second: Companion, lock: Lock, sold: Callable[[], bool]) -> None:
        second.freeze()
        eventually_sync(lambda: lock.waiting() > 1, READY_SECONDS)  # the other process claims
        second.wake()
        lock.release()  # both go on at once
        eventually_sync(sold, SETTLE_SECONDS)

    _freeze_in_mid_transaction(upshot, freeze_and_wake)


def _freeze_in_mid_transaction(
    upshot: Upshot, freeze_and_wake: Callable[[Companion, Lock, Callable[[], bool]], None]
) -> None:
    inside = Inside(upshot)
    with loyalty_companion(upshot) as second, Town(upshot, shops=SHOPS, seed=_seed()) as town:
        partition, shopper = _shopper_of(upshot, second)
        with locked_checkpoint(inside, partition) as lock:
            position = parse_position(sell(upshot, shopper))
            eventually_sync(lambda: lock.waiting() > 0, READY_SECONDS)
            freeze_and_wake(second, lock, lambda: inside.has_applied("loyalty", position))

        applied = second.applied()
        assert second.process.poll() is None, second.log_file.read_text()[-3000:]
        eventually_sync(lambda: second.is_ready() and second.applied() > applied, READY_SECONDS)
    inside.wait_until_settled()
    assert_nothing_is_lost_or_doubled(inside, town.facts)


def _shopper_of(upshot: Upshot, second: Companion) -> tuple[int, str]:
    """Find a partition that the second process owns, and a customer in it."""
    owned = eventually_sync(second.partitions, READY_SECONDS)
    eventually_sync(second.is_ready, READY_SECONDS)
    for number in range(SHOPPERS):
        position: Position = parse_position(sell(upshot, f"shopper-{number}"))
        if position.partition in owned:
            return position.partition, f"shopper-{number}"
    msg = f"no shopper is in {owned}"
    raise AssertionError(msg)


def _seed() -> int:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    return seed
