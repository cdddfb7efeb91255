"""A projection that lives by its timers: each fact is reminded of, then once again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from contracts import codec
from contracts.topics import LOYALTY_ENTRIES
from projections.kernel import rows
from projections.kernel.projection import Effect, Firing, Output, Step
from projections.kernel.timers import Timer
from services.runtime.postgres import Session

ROUNDS = 2
STEP = timedelta(milliseconds=2)


class Reminder(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    workspace: str
    customer: str
    fact: bytes
    round: int
    at: datetime
    partition: int
    offset: int
    revision: int


class Reminding:
    """Writes a row when a fact has stood for a while; a fact taken back is not reminded of.

    A fact that occurred long ago is due at once. A customer in ``broken`` has no reminders.
    """

    name = "reminding"
    version = 1
    migrations = Path(__file__).parent / "reminders"
    keeps_content = False

    def __init__(self, *, after: timedelta = STEP, broken: frozenset[str] = frozenset()) -> None:
        self._after = after
        self._broken = broken

    def working_set(self) -> list[Reminder]:
        return []

    async def load(self, session: Session, working: list[Reminder], steps: Sequence[Step]) -> None:
        del session, steps
        assert not working, "a batch starts afresh"

    async def load_due(
        self, session: Session, working: list[Reminder], due: Sequence[Timer]
    ) -> None:
        del session, working
        assert due, "nothing is loaded for nothing"

    def apply(self, working: list[Reminder], step: Step) -> Iterable[Effect]:
        del working
        change = step.change
        if change is None or not change.is_effective:
            return
        due = None if change.after is None else change.after.occurred_at + self._after
        yield Timer(
            workspace=step.record.workspace,
            customer=step.record.subject,
            kind="remind",
            id=change.key,
            due=due,
        )
        if due is None:
            yield Timer(
                workspace=step.record.workspace,
                customer=step.record.subject,
                kind="again",
                id=change.key,
                due=None,
            )

    def fire(self, working: list[Reminder], firing: Firing) -> Iterable[Effect]:
        timer = firing.timer
        if timer.customer in self._broken:
            raise ValueError(timer.customer)
        first = timer.kind == "remind"
        reminder = Reminder(
            workspace=timer.workspace,
            customer=timer.customer,
            fact=timer.id,
            round=1 if first else 2,
            at=firing.at,
            partition=firing.partition,
            offset=firing.offset,
            revision=firing.snapshot.revision,
        )
        working.append(reminder)
        yield Output(
            topic=LOYALTY_ENTRIES,
            type="reminded",
            id=f"{timer.id.hex()}/{reminder.round}/{firing.at.isoformat()}",
            customer=timer.customer,
            time=firing.at,
            data=codec.raw({"round": reminder.round}),
            cause=firing,
        )
        if first:
            yield msgspec.structs.replace(timer, kind="again", due=firing.at + self._after)

    async def write(
        self, session: Session, working: list[Reminder], *, live: bool
    ) -> Sequence[Output]:
        del live
        for each in working:
            await session.execute(
                "INSERT INTO reminders VALUES (%s, %s, %s::uuid, %s, %s, %s, %s, 1, %s)"
                " ON CONFLICT ON CONSTRAINT reminders_fire_once_a_round"
                " DO UPDATE SET at = excluded.at, record_offset = excluded.record_offset,"
                " times = reminders.times + 1, revision = excluded.revision",
                (
                    each.workspace,
                    rows.customer_uuid(each.customer),
                    each.fact.hex(),
                    each.round,
                    each.at,
                    each.partition,
                    each.offset,
                    each.revision,
                ),
            )
        working.clear()
        return ()

    async def verify(self, session: Session) -> list[str]:
        found = await (
            await session.execute(
                "SELECT count(*) FROM reminders r JOIN checkpoints c USING (partition)"
                " WHERE r.at > c.logical_time"
            )
        ).fetchone()
        return ["a reminder came before its time"] if found != (0,) else []
