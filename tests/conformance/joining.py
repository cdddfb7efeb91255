"""Two projections that meet: one tells who is in a segment, the other asks before each fact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from contracts import codec
from contracts.definitions.catalogue import Snapshot
from contracts.identifiers import derived_id
from contracts.memberships import MEMBERSHIP_CHANGED, Cause, MembershipChanged, Place
from contracts.topics import SEGMENT_MEMBERSHIPS
from projections.kernel import rows
from projections.kernel.projection import Effect, Firing, Joined, Moment, Output, Step
from projections.kernel.timers import Timer
from services.runtime.postgres import Session
from tests.conformance.logs import START

SEGMENT = "fresh"
STAYS = timedelta(milliseconds=3)
"""How long a fact keeps its customer in the segment."""
ASKED_BY = "asks"
"""Name of an event type: while it is defined, a rule asks for the segment."""

Customer = tuple[str, str]


class Segmenting:
    """Customers with a fact of the last moments; who had none enters, who has none left leaves."""

    name = "segments"
    version = 1
    migrations = Path(__file__).parent / "memberships"
    keeps_content = False

    def working_set(self) -> dict[Customer, int]:
        return {}

    async def load(
        self, session: Session, working: dict[Customer, int], steps: Sequence[Step]
    ) -> None:
        await self._know(session, working, [(s.record.workspace, s.record.subject) for s in steps])

    async def load_due(
        self, session: Session, working: dict[Customer, int], due: Sequence[Timer]
    ) -> None:
        await self._know(session, working, [(each.workspace, each.customer) for each in due])

    async def _know(
        self, session: Session, working: dict[Customer, int], customers: Sequence[Customer]
    ) -> None:
        for workspace, customer in customers:
            found = await (
                await session.execute(
                    "SELECT facts FROM members WHERE workspace = %s AND customer = %s",
                    (workspace, rows.customer_uuid(customer)),
                )
            ).fetchone()
            working[workspace, customer] = 0 if found is None else found[0]

    def apply(self, working: dict[Customer, int], step: Step) -> Iterable[Effect]:
        if step.change is None or step.change.after is None or step.change.before is not None:
            return
        customer = (step.record.workspace, step.record.subject)
        working[customer] += 1
        if working[customer] == 1:
            yield self._changed(step, "entered", "event", step.at)
        yield Timer(
            workspace=customer[0],
            customer=customer[1],
            kind="leaves",
            id=derived_id("", str(step.offset))[:16].encode(),
            due=step.at + STAYS,
        )

    def fire(self, working: dict[Customer, int], firing: Firing) -> Iterable[Effect]:
        customer = (firing.timer.workspace, firing.timer.customer)
        working[customer] -= 1
        if working[customer] == 0:
            yield self._changed(firing, "left", "time", firing.at)

    def _changed(self, moment: Moment, change: str, by: Cause, at: datetime) -> Output:
        customer = moment.record.subject
        changed = MembershipChanged(
            customer=customer,
            segment=SEGMENT,
            change="entered" if change == "entered" else "left",
            at=at,
            revision=moment.snapshot.revision,
            caused_by=by,
            place=Place(offset=moment.offset, by=by),
        )
        return Output(
            topic=SEGMENT_MEMBERSHIPS,
            type=MEMBERSHIP_CHANGED,
            id=derived_id("membership_", customer, change, by, str(moment.offset), str(at)),
            customer=customer,
            time=at,
            data=codec.raw(changed),
            cause=moment,
        )

    async def write(
        self, session: Session, working: dict[Customer, int], *, live: bool
    ) -> Sequence[Output]:
        del live
        for (workspace, customer), facts in working.items():
            await session.execute(
                "INSERT INTO members VALUES (%s, %s, %s)"
                " ON CONFLICT ON CONSTRAINT members_have_one_row_a_customer"
                " DO UPDATE SET facts = excluded.facts",
                (workspace, rows.customer_uuid(customer), facts),
            )
        working.clear()
        return ()

    async def verify(self, session: Session) -> list[str]:
        found = await (
            await session.execute("SELECT count(*) FROM members WHERE facts < 0")
        ).fetchone()
        return ["somebody is less than no member"] if found != (0,) else []


class Grant(msgspec.Struct, kw_only=True):
    """A customer's row."""

    is_member: bool = False
    granted: int = 0
    entered: int = 0
    late: int = 0
    last_at: datetime = START


class Granting:
    """Counts the facts that come while their customer is in the segment, and the entrances."""

    name = "granting"
    version = 1
    migrations = Path(__file__).parent / "grants"
    keeps_content = False

    def working_set(self) -> dict[Customer, Grant]:
        return {}

    def asks(self, snapshot: Snapshot) -> bool:
        return ASKED_BY in snapshot.event_types

    async def load(
        self, session: Session, working: dict[Customer, Grant], steps: Sequence[Step]
    ) -> None:
        await self._know(session, working, [(s.record.workspace, s.record.subject) for s in steps])

    async def load_joining(
        self, session: Session, working: dict[Customer, Grant], changes: Sequence[MembershipChanged]
    ) -> None:
        await self._know(session, working, [("demo", each.customer) for each in changes])

    async def _know(
        self, session: Session, working: dict[Customer, Grant], customers: Sequence[Customer]
    ) -> None:
        for workspace, customer in customers:
            found = await (
                await session.execute(
                    "SELECT is_member, granted, entered, late, last_at FROM grants"
                    " WHERE workspace = %s AND customer = %s",
                    (workspace, rows.customer_uuid(customer)),
                )
            ).fetchone()
            working[workspace, customer] = (
                Grant()
                if found is None
                else Grant(
                    is_member=found[0],
                    granted=found[1],
                    entered=found[2],
                    late=found[3],
                    last_at=found[4],
                )
            )

    def apply(self, working: dict[Customer, Grant], step: Step) -> Iterable[Effect]:
        grant = working[step.record.workspace, step.record.subject]
        grant.last_at = step.at
        if step.change is not None and step.change.after is not None:
            grant.granted += grant.is_member
        return ()

    def join(self, working: dict[Customer, Grant], joined: Joined) -> Iterable[Effect]:
        grant = working[joined.record.workspace, joined.change.customer]
        grant.is_member = joined.change.change == "entered"
        grant.last_at = joined.at
        grant.late += joined.is_late
        grant.entered += grant.is_member and not joined.is_late
        return ()

    async def write(
        self, session: Session, working: dict[Customer, Grant], *, live: bool
    ) -> Sequence[Output]:
        del live
        for (workspace, customer), grant in working.items():
            await session.execute(
                "INSERT INTO grants VALUES (%s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT ON CONSTRAINT grants_have_one_row_a_customer"
                " DO UPDATE SET is_member = excluded.is_member, granted = excluded.granted,"
                " entered = excluded.entered, late = excluded.late, last_at = excluded.last_at",
                (
                    workspace,
                    rows.customer_uuid(customer),
                    grant.is_member,
                    grant.granted,
                    grant.entered,
                    grant.late,
                    grant.last_at,
                ),
            )
        working.clear()
        return ()

    async def verify(self, session: Session) -> list[str]:
        del session
        return []
