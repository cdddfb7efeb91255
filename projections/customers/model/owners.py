"""Who holds a fact that was told for several customers.

Guarantee: the owner is the greatest claim ever made, so it is the same whatever the order in which
partitions are read; each claim that loses is answered by exactly one withdrawal or by the
withdrawal of a later claim of the same customer.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from contracts.identifiers import FactKey, derived_id, event_id
from projections.kernel.projection import Moment, Step


class Owner(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A version that stands at a customer: when it claims to have occurred, and its place.

    ``stands`` is the partition and offset of the version that stands, where that is another one.
    """

    customer: str
    occurred_at: datetime
    appended_at: datetime
    partition: int
    offset: int
    stands: tuple[int, int] | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What an effective version claims by its step's record.

    ``is_bare``: the producer named the fact by an id of its own, so there are no versions and the
    earliest append holds it.
    """

    key: FactKey
    is_bare: bool
    owner: Owner
    step: Step


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """A customer who loses the fact to ``held_by``: the version at ``last_offset``, or before."""

    key: FactKey
    customer: str
    last_partition: int
    last_offset: int
    held_by: str
    cause: Moment

    @property
    def id(self) -> str:
        """Id of the record: of the version that lost, whoever finds out."""
        workspace = self.cause.record.workspace
        event = event_id(self.key)
        return derived_id("withdrawal_", workspace, event, self.customer, str(self.last_offset))


def beats(one: Owner, other: Owner, *, is_bare: bool) -> bool:
    """Whether one claim outranks another.

    Of versions the newer ``occurred_at`` wins and of equal ones the later append; of a bare id the
    earlier append. Appends at the same instant rank by partition and offset.
    """
    if is_bare:
        return _append_of(one) < _append_of(other)
    return (one.occurred_at, *_append_of(one)) > (other.occurred_at, *_append_of(other))


def _append_of(owner: Owner) -> tuple[datetime, int, int]:
    return owner.appended_at, owner.partition, owner.offset


def settle(held: Owner, claims: Iterable[Claim]) -> tuple[Owner, list[Withdrawal]]:
    """Settle claims to one fact, in order; answers who holds it now and who loses it."""
    lost: list[Withdrawal] = []
    for claim in claims:
        winner, loser = held, claim.owner
        if beats(claim.owner, held, is_bare=claim.is_bare):
            winner, loser = claim.owner, held
        if winner.customer != loser.customer:
            place = loser.partition, loser.offset
            lost.append(
                Withdrawal(
                    key=claim.key,
                    customer=loser.customer,
                    last_partition=(loser.stands or place)[0],
                    last_offset=(loser.stands or place)[1],
                    held_by=winner.customer,
                    cause=claim.step,
                )
            )
        held = winner
    return held, lost
