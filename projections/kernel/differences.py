"""What outputs must still say when a generation becomes live that believes something else.

Guarantee: it is put out by the generation that becomes live, in the transaction that makes it so,
its sequences going on where those of the other ended; so it is told once, or nothing was promoted.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import LiteralString, Protocol, runtime_checkable

import msgspec
from psycopg import sql

from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Catalogue
from contracts.identifiers import derived_id
from contracts.partitioner import partition_of
from projections.kernel.generations import Generation
from projections.kernel.outbox import Outputs, source_of
from projections.kernel.projection import Moment, Output
from services.runtime.postgres import Session

OUTPUTS_MAX = 5_000
"""Of one outbox row, as of any transaction."""
DIFFERENCES_MAX = 50_000
"""Of one promotion: they are told while the live generation stands still, in about a second."""


class TooManyDifferencesError(Exception):
    """More differs than can be told while the live generation stands still."""

    def __init__(self) -> None:
        super().__init__(
            f"more than {DIFFERENCES_MAX:,} differ in what outputs describe, which cannot be told "
            "at once; consumers must read the candidate's state themselves"
        )


MomentOf = Callable[[str, str], Moment]
"""Where it is told that something differs at a customer: workspace and customer id."""

Differences = Callable[[Session, str, str, MomentOf], Awaitable[Sequence[Output]]]
"""Finds what differs between two schemas, the live one first, in what outputs describe."""


@runtime_checkable
class Differing(Protocol):
    """What the kernel asks besides of a projection whose outputs describe something that stands."""

    async def differences(
        self, session: Session, live: str, candidate: str, moment: MomentOf
    ) -> Sequence[Output]:
        """Tell what outputs must still say for the candidate's schema to be described by them."""
        ...


class _Stand(msgspec.Struct, frozen=True):
    next_offset: int
    logical_time: datetime
    sequence: int


_STANDS: LiteralString = """
SELECT partition, next_offset, logical_time, (progress ->> 'sequence')::bigint FROM {}"""
_PUT_OUT: LiteralString = """
INSERT INTO {} (partition, sequence_first, first_offset, records) VALUES (%s, %s, %s, %b)"""
_COUNTED: LiteralString = """
UPDATE {} SET progress = jsonb_set(progress, '{{sequence}}', to_jsonb(%s::bigint))
WHERE partition = %s"""


class Emission:
    """What is put out at one promotion, at the offsets where both generations stand."""

    def __init__(self, session: Session, live: Generation, candidate: Generation) -> None:
        self._session = session
        self._live = live
        self._candidate = candidate
        self._stands: dict[int, _Stand] = {}

    async def find(self, differences: Differences) -> Sequence[Output]:
        """Find what differs, after the candidate took the sequences over."""
        query = sql.SQL(_STANDS).format(self._table("checkpoints"))
        rows = await (await self._session.execute(query)).fetchall()
        self._stands = {row[0]: _Stand(*row[1:]) for row in rows}
        return await differences(
            self._session, self._live.schema, self._candidate.schema, self._moment
        )

    async def put_out(self, outputs: Sequence[Output]) -> None:
        """Leave it to the relays of the candidate's owners."""
        by_partition: dict[int, list[Output]] = {}
        for output in outputs:
            by_partition.setdefault(output.cause.partition, []).append(output)
        for partition, told in by_partition.items():
            sequence = self._stands[partition].sequence
            for start in range(0, len(told), OUTPUTS_MAX):
                sequence = await self._keep(partition, sequence, told[start : start + OUTPUTS_MAX])
            counted = sql.SQL(_COUNTED).format(self._table("checkpoints"))
            await self._session.execute(counted, (sequence, partition))

    async def _keep(self, partition: int, sequence: int, told: Sequence[Output]) -> int:
        outputs = Outputs(
            source=source_of(self._candidate.projection, partition),
            partition=partition,
            partitions=self._candidate.partitions,
            sequence=sequence,
            live=True,
        )
        for output in told:
            outputs.put(output)
        row = (
            partition,
            sequence + 1,
            self._stands[partition].next_offset,
            outputs.encoded(),
        )
        await self._session.execute(sql.SQL(_PUT_OUT).format(self._table("outbox")), row)
        return sequence + outputs.count

    def _moment(self, workspace: str, customer: str) -> Moment:
        partition = partition_of(customer.encode(), self._candidate.partitions)
        stand = self._stands[partition]
        record = CloudEvent(
            id=derived_id("promoted_", f"{partition}/{stand.sequence}", workspace, customer),
            source=f"{self._candidate.projection}/operations",
            type="generation.promoted",
            subject=customer,
            time=stand.logical_time,
            workspace=workspace,
            recordedtime=stand.logical_time,
            definitionsrevision=0,
            data=msgspec.Raw(b"{}"),
        )
        return Moment(
            partition=partition,
            offset=stand.next_offset,
            at=stand.logical_time,
            record=record,
            snapshot=Catalogue().at(workspace, 0),
        )

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._candidate.schema, name)
