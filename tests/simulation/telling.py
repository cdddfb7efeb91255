"""A projection that puts out all there can be.

To its own partition and to another customer's, into the log itself, raw; either as it folds, or
late, when its rows tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from contracts import codec
from contracts.identifiers import derived_id
from contracts.partitioner import partition_of
from contracts.topics import CUSTOMER_EVENTS, LOYALTY_ENTRIES, WEBHOOKS
from projections.kernel import rows
from projections.kernel.projection import Output, RawOutput, Step
from services.runtime.postgres import Session
from tests.conformance.logs import PARTITIONS, customer_number
from tests.simulation.stories import CUSTOMERS

TOLD = "telling.told"
"""Of a type that the kernel does not know: it is passed over in the log."""

Customer = tuple[str, str]
WorkingSet = list[tuple[Step, int]]
"""Steps of a batch, each with what it adds to the facts of its customer."""

_UPSERT = """
INSERT INTO tellings AS c VALUES (%s, %s, %s, %s)
ON CONFLICT ON CONSTRAINT tellings_have_one_row_a_customer
DO UPDATE SET facts = c.facts + excluded.facts, last_at = excluded.last_at
RETURNING facts"""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What an output says."""

    customer: str
    place: str
    count: int


class Telling:
    """Counts facts and tells everybody; ``late``: only when the rows are written."""

    name = "telling"
    version = 1
    migrations = Path(__file__).parent / "migrations"
    keeps_content = True

    def __init__(self, *, late: bool) -> None:
        self._late = late

    def working_set(self) -> WorkingSet:
        return []

    async def load(self, session: Session, working: WorkingSet, steps: Sequence[Step]) -> None:
        del session, steps
        assert not working, "a batch starts afresh"

    def apply(self, working: WorkingSet, step: Step) -> Iterable[Output]:
        moved = 0
        if step.change is not None:
            moved = (step.change.after is not None) - (step.change.before is not None)
        working.append((step, moved))
        return () if self._late else list(_told(step, moved))

    async def write(
        self, session: Session, working: WorkingSet, *, live: bool
    ) -> Sequence[Output | RawOutput]:
        del live
        counts = {each: await _written(session, working, each) for each in _customers(working)}
        outputs: list[Output | RawOutput] = []
        for step, moved in working:
            customer = (step.record.workspace, step.record.subject)
            counts[customer] += moved
            if self._late:
                outputs.extend(_told(step, moved))
                if moved and counts[customer] > 0:
                    outputs.append(_raw(step, counts[customer]))
        working.clear()
        return outputs

    async def verify(self, session: Session) -> list[str]:
        found = await session.execute("SELECT count(*) FROM tellings WHERE facts < 0")
        return ["some count is below zero"] if await found.fetchone() != (0,) else []


def _customers(working: WorkingSet) -> list[Customer]:
    return sorted({(step.record.workspace, step.record.subject) for step, _ in working})


async def _written(session: Session, working: WorkingSet, customer: Customer) -> int:
    """Add a batch to a customer's row; answers the count before it."""
    mine = [
        (step.at, moved)
        for step, moved in working
        if (step.record.workspace, step.record.subject) == customer
    ]
    more, last_at = sum(moved for _, moved in mine), mine[-1][0]
    uuid = rows.customer_uuid(customer[1])
    row = await (await session.execute(_UPSERT, (customer[0], uuid, more, last_at))).fetchone()
    assert row is not None, "an INSERT … RETURNING answers its row"
    return row[0] - more


def _told(step: Step, moved: int) -> Iterator[Output]:
    if moved > 0:
        yield _output(LOYALTY_ENTRIES, step.record.subject, step, moved)
        yield _output(CUSTOMER_EVENTS, _neighbour(step), step, moved)
    if moved < 0:
        yield _output(LOYALTY_ENTRIES, _neighbour(step), step, moved)


def _neighbour(step: Step) -> str:
    number = int(step.record.subject.removeprefix("cust_"), 16)
    return customer_number(number % CUSTOMERS + 1)


def _said(customer: str, step: Step, count: int) -> Said:
    return Said(customer=customer, place=f"{step.partition}/{step.offset}", count=count)


def _output(topic: str, customer: str, step: Step, moved: int) -> Output:
    said = _said(customer, step, moved)
    return Output(
        topic=topic,
        type=TOLD,
        id=derived_id("told_", topic, customer, said.place),
        customer=customer,
        time=step.at,
        data=codec.raw(said),
        cause=step,
    )


def _raw(step: Step, count: int) -> RawOutput:
    customer = step.record.subject
    return RawOutput(
        topic=WEBHOOKS,
        partition=partition_of(customer.encode(), PARTITIONS),
        customer=customer,
        value=codec.encode(_said(customer, step, count)),
    )
