"""Timers: what a model wants to do at an instant, kept as rows and fired in the log's own time.

Guarantee: before a record is applied every timer due at or before its logical time has fired, in
order of (due, kind, customer, id); a live run, one that lags and a rebuild fire them at the same
place. A million due at one instant fire in transactions of ``TIMERS_MAX``.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from typing import LiteralString

import msgspec
from msgspec import UNSET

from contracts.cloudevent import CloudEvent
from contracts.identifiers import derived_id
from projections.kernel import binary
from services.runtime.postgres import Session

TIMERS_MAX = 5_000
"""Timers of one transaction: as many as records, and for the same reason."""
SYSTEM_CLOCK = ""
"""Name of the clock that the log's append times move; a test clock has its workspace's."""
TIMER_FIRED = "timer.fired"
NEVER = datetime.max.replace(tzinfo=UTC)
_EVER = datetime.min.replace(tzinfo=UTC)


class Timer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An effect of a model: at ``due`` it wants to be fired for this customer.

    One of the same customer, kind and id takes its place; ``due`` None takes it back. ``id`` has
    16 bytes. What is due already fires at once, after the step that set it.
    """

    workspace: str
    customer: str
    kind: str
    id: bytes
    due: datetime | None


class Armed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A timer that waits, with the chain of causes that it goes on."""

    timer: Timer
    clock: str
    due: datetime
    correlation: str
    depth: int

    @property
    def order(self) -> "Order":
        """Where it stands among those of one clock."""
        return self.due, self.timer.kind, binary.customer_key(self.timer.customer), self.timer.id

    def record(self, revision: int) -> CloudEvent:
        """Tell the firing as a record, which the log has not: outputs name it as their cause."""
        timer = self.timer
        return CloudEvent(
            id=derived_id(
                "timer_", timer.customer, timer.kind, timer.id.hex(), self.due.isoformat()
            ),
            source="timers",
            type=TIMER_FIRED,
            subject=timer.customer,
            time=self.due,
            workspace=timer.workspace,
            recordedtime=self.due,
            definitionsrevision=revision,
            correlationid=self.correlation or UNSET,
            chaindepth=self.depth or UNSET,
            data=msgspec.Raw(b"{}"),
        )


Order = tuple[datetime, str, bytes, bytes]
_Key = tuple[str, str, str, bytes]
_Waiting = tuple[Order, int, Armed]

_DUE: LiteralString = """
SELECT workspace, uuid_send(customer), kind, uuid_send(id), due, correlation, depth FROM timers
WHERE partition = %s AND clock = %s AND due <= %s
ORDER BY due, kind COLLATE "C", customer, id LIMIT %s"""
_NEXT: LiteralString = """
SELECT min(due) FROM timers WHERE partition = %s AND clock = %s AND due > %s"""
_ARM: LiteralString = """
INSERT INTO timers (workspace, customer, kind, id, partition, clock, due, correlation, depth)
SELECT * FROM unnest(%s, %s, %s, %s, %s::int[], %s, %s::timestamptz[], %s, %s::int[])
ON CONFLICT ON CONSTRAINT timers_have_one_row_an_id DO UPDATE
SET clock = excluded.clock, due = excluded.due, correlation = excluded.correlation,
    depth = excluded.depth"""
_FORGET: LiteralString = """
DELETE FROM timers t USING unnest(%s, %s, %s, %s) AS n (workspace, customer, kind, id)
WHERE t.workspace = n.workspace AND t.customer = n.customer AND t.kind = n.kind AND t.id = n.id"""


def is_beyond(order: Order, horizon: Order | None, now: datetime) -> bool:
    """Whether a timer comes after a horizon: after a timer, or not ``before`` an instant.

    Args:
        now: what was due before is due then.
    """
    if horizon is None:
        return False
    return max(order[0], now) >= horizon[0] if not horizon[1] else order > horizon


class Timers:
    """The timers of one partition: those of a batch in memory, and when the next one is due."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._next: dict[str, datetime] = {}
        self._later: dict[str, datetime] = {}
        self._waiting: dict[str, list[_Waiting]] = {}
        self._present: dict[_Key, Armed | None] = {}
        self._changed: set[_Key] = set()
        self.soonest = NEVER
        """When the next timer in memory of the log's own clock is due, at the earliest."""
        self._ties = count()

    def forget(self) -> None:
        """Drop what is held in memory, since a transaction may not have committed."""
        self._next.clear()
        self._drop_batch()

    def _drop_batch(self) -> None:
        for kept in (self._later, self._waiting, self._present):
            kept.clear()
        self._changed.clear()
        self.soonest = NEVER

    async def next_due(self, session: Session, clock: str = SYSTEM_CLOCK) -> datetime:
        """Say when the next timer of a clock is due, at the earliest."""
        if clock not in self._next:
            self._next[clock] = await self._find_next(session, clock, _EVER)
        return self._next[clock]

    async def load(
        self, session: Session, until: Mapping[str, datetime], *, limit: int
    ) -> dict[str, list[Armed]]:
        """Read what is due on each clock until an instant, in order.

        One more than ``limit`` tells that there are others.
        """
        found: dict[str, list[Armed]] = {}
        for clock, at in until.items():
            if await self.next_due(session, clock) > at:
                self._later[clock] = self._next[clock]
                continue
            parameters = (self._partition, clock, at, limit + 1)
            rows = await (await session.execute(_DUE, parameters)).fetchall()
            found[clock] = [_armed(clock, row) for row in rows]
            for each in found[clock]:
                self._wait(each)
            is_whole = len(rows) <= limit
            self._later[clock] = await self._find_next(session, clock, at) if is_whole else NEVER
        return found

    async def _find_next(self, session: Session, clock: str, after: datetime) -> datetime:
        row = await (await session.execute(_NEXT, (self._partition, clock, after))).fetchone()
        return NEVER if row is None or row[0] is None else row[0]

    def arm(self, timer: Timer, cause: CloudEvent, clock: str) -> None:
        """Take a model's wish; what it wished before under this customer, kind and id is void."""
        self._changed.add(_key(timer))
        if timer.due is None:
            self._present[_key(timer)] = None
            return
        depth = cause.chaindepth if isinstance(cause.chaindepth, int) else 0
        correlation = cause.correlationid if isinstance(cause.correlationid, str) else ""
        self._wait(
            Armed(timer=timer, clock=clock, due=timer.due, correlation=correlation, depth=depth)
        )

    def _wait(self, armed: Armed) -> None:
        self._present[_key(armed.timer)] = armed
        waiting = self._waiting.setdefault(armed.clock, [])
        heappush(waiting, (armed.order, next(self._ties), armed))
        if armed.clock == SYSTEM_CLOCK:
            self.soonest = min(self.soonest, armed.due)

    def peek(
        self,
        clock: str,
        until: datetime,
        horizon: Order | None = None,
        *,
        now: datetime = _EVER,
    ) -> Armed | None:
        """Name the next timer due until an instant, and within the horizon of what was read.

        Args:
            now: what is due already counts as due then.
        """
        waiting = self._waiting.get(clock)
        while waiting:
            order, _, armed = waiting[0]
            if self._present.get(_key(armed.timer)) is not armed:  # taken back, or replaced
                heappop(waiting)
                continue
            if armed.due > until or is_beyond(order, horizon, now):
                break
            return armed
        if clock == SYSTEM_CLOCK:
            self.soonest = waiting[0][2].due if waiting else NEVER
        return None

    def take(self, armed: Armed) -> None:
        """Take the timer that is next; it waits no more."""
        key = _key(armed.timer)
        taken = heappop(self._waiting[armed.clock])
        assert taken[2] is armed, "only the next timer is taken"
        self._present[key] = None
        self._changed.add(key)

    async def write(self, session: Session) -> None:
        """Write what the batch changed, inside the kernel's transaction."""
        if not self._changed:
            return
        present = [(key, self._present[key]) for key in self._changed]
        if gone := [key for key, armed in present if armed is None]:
            await session.execute(_FORGET, _keys(gone))
        if armed := [(key, each) for key, each in present if each is not None]:
            await session.execute(_ARM, self._columns(armed))

    def settle(self) -> None:
        """Know what the batch left, once it is committed."""
        for clock in {*self._later, *self._waiting}:
            standing = [
                armed.due
                for _, _, armed in self._waiting.get(clock, ())
                if self._present.get(_key(armed.timer)) is armed
            ]
            known = self._later.get(clock, self._next.get(clock))
            if known is not None:
                self._next[clock] = min((*standing, known))
        self._drop_batch()

    def _columns(self, armed: Sequence[tuple[_Key, Armed]]) -> tuple[object, ...]:
        return (
            *_keys(key for key, _ in armed),
            [self._partition] * len(armed),
            binary.texts(each.clock for _, each in armed),
            [each.due for _, each in armed],
            binary.texts(each.correlation for _, each in armed),
            [each.depth for _, each in armed],
        )


def _key(timer: Timer) -> _Key:
    return timer.workspace, timer.customer, timer.kind, timer.id


def _keys(keys: Iterable[_Key]) -> tuple[object, ...]:
    workspaces, customers, kinds, ids = zip(*keys, strict=True)
    return (
        binary.texts(workspaces),
        binary.uuids([binary.customer_key(customer) for customer in customers]),
        binary.texts(kinds),
        binary.uuids(ids),
    )


def _armed(clock: str, row: tuple[str, bytes, str, bytes, datetime, str, int]) -> Armed:
    workspace, customer, kind, identity, due, correlation, depth = row
    timer = Timer(
        workspace=workspace,
        customer=binary.customer_id(customer),
        kind=kind,
        id=identity,
        due=due,
    )
    return Armed(timer=timer, clock=clock, due=due, correlation=correlation, depth=depth)
