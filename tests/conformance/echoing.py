"""Projections whose outcomes come back as events, and that answer each other's outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from contracts import codec
from contracts.definitions.catalogue import Snapshot
from contracts.events import CustomEvent
from contracts.identifiers import derived_id
from contracts.internal_events import InternalEvent
from contracts.partitioner import partition_of
from contracts.topics import CUSTOMER_EVENTS
from projections.kernel import binary, rows
from projections.kernel.projection import Effect, Moment, Output, Step
from services.runtime.postgres import Session
from tests.conformance.logs import PARTITIONS

Customer = tuple[str, str]
Voice = Literal["customer.badge.granted", "customer.referral.converted"]


class Echo(msgspec.Struct, kw_only=True):
    """A customer's row."""

    heard: int = 0
    present: int = 0
    depth: int = 0


class Echoing:
    """Answers each event, and each outcome of the other voice, with an outcome of its own.

    A definition names a voice by an event type of its name.
    """

    version = 1
    migrations = Path(__file__).parent / "echoes"
    keeps_content = False

    def __init__(self, voice: Voice) -> None:
        self.name = "echo_" + voice.rsplit(".", 1)[1]
        self._voice = voice

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset({self._voice})

    def named(self, snapshot: Snapshot) -> frozenset[str]:
        return self.kinds & snapshot.event_types.keys()

    def working_set(self) -> dict[Customer, Echo]:
        return {}

    async def load(
        self, session: Session, working: dict[Customer, Echo], steps: Sequence[Step]
    ) -> None:
        for step in steps:
            workspace, customer = step.record.workspace, step.record.subject
            found = await (
                await session.execute(
                    "SELECT heard, present, depth FROM echoes"
                    " WHERE workspace = %s AND customer = %s",
                    (workspace, rows.customer_uuid(customer)),
                )
            ).fetchone()
            working[workspace, customer] = (
                Echo() if found is None else Echo(heard=found[0], present=found[1], depth=found[2])
            )

    def apply(self, working: dict[Customer, Echo], step: Step) -> Iterable[Effect]:
        echo = working[step.record.workspace, step.record.subject]
        match step.data:
            case InternalEvent(is_present=True):
                echo.present += 1
                return
            case InternalEvent():
                depth = step.record.chaindepth
                echo.depth = max(echo.depth, depth if isinstance(depth, int) else 0)
            case CustomEvent():
                pass
            case _:
                return
        echo.heard += 1
        yield self._outcome(step, step.record.subject, is_present=False)

    async def state(
        self,
        session: Session,
        moment: Moment,
        kinds: frozenset[str],
        *,
        after: str,
        customers_max: int,
    ) -> tuple[Sequence[Output], str | None]:
        assert kinds == self.kinds, "it has one voice"
        found = await session.execute(
            "SELECT uuid_send(customer) FROM echoes WHERE workspace = %s ORDER BY customer",
            (moment.record.workspace,),
        )
        customers = [binary.customer_id(row[0]) for row in await found.fetchall()]
        left = [
            each
            for each in customers
            if each > after and partition_of(each.encode(), PARTITIONS) == moment.partition
        ]
        outputs = [self._outcome(moment, each, is_present=True) for each in left[:1]]
        return outputs, left[0] if len(left) > 1 and customers_max else None

    def _outcome(self, moment: Moment, customer: str, *, is_present: bool) -> Output:
        return Output(
            topic=CUSTOMER_EVENTS,
            type=self._voice,
            id=derived_id("echo_", self._voice, moment.record.id, customer),
            customer=customer,
            time=moment.at,
            data=codec.raw(InternalEvent(outcome=msgspec.Raw(b"{}"), is_present=is_present)),
            cause=moment,
        )

    async def write(
        self, session: Session, working: dict[Customer, Echo], *, live: bool
    ) -> Sequence[Output]:
        del live
        for (workspace, customer), echo in working.items():
            await session.execute(
                "INSERT INTO echoes VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT ON CONSTRAINT echoes_have_one_row_a_customer DO UPDATE"
                " SET heard = excluded.heard, present = excluded.present, depth = excluded.depth",
                (
                    workspace,
                    rows.customer_uuid(customer),
                    echo.heard,
                    echo.present,
                    echo.depth,
                ),
            )
        working.clear()
        return ()

    async def verify(self, session: Session) -> list[str]:
        del session
        return []
