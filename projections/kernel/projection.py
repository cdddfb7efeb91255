"""The port between the kernel and a projection.

Guarantee: a projection is a model (pure), a store (sets of rows) and this description of the two;
the kernel does everything else. ``projections/README.md`` shows how to write one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from contracts.cloudevent import CloudEvent
from contracts.definitions.catalogue import Catalogue, Snapshot
from contracts.events import EventData
from contracts.memberships import MembershipChanged
from contracts.merges import CustomerMerged
from contracts.versions import Change
from projections.kernel.timers import Timer
from services.runtime.postgres import Session


class Moment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happens at a place, with all that a model may know besides its own rows.

    ``at`` is the logical time there, ``snapshot`` the definitions in force there, ``record`` what
    is told as the cause of what follows.
    """

    partition: int
    offset: int
    at: datetime
    record: CloudEvent
    snapshot: Snapshot


class Step(Moment, frozen=True, kw_only=True, gc=False):
    """A record of the log.

    ``time`` is the partition's logical time there, from which a test clock sets ``at`` apart.
    ``change`` is what the record does to its fact (None where the record is about no fact).
    ``judged`` are the definitions that judge the fact: those in force at its first version.
    """

    time: datetime
    data: EventData
    change: Change | None
    judged: Snapshot

    @property
    def merges_profile(self) -> bool:
        """Whether the record's profile fields count: not those of a stale or repeated version."""
        return self.change is None or self.change.is_effective


class Firing(Moment, frozen=True, kw_only=True, gc=False):
    """A timer of a customer that is due: ``at`` is its instant, or that of its setting if later.

    Its place is the first record whose time reaches it; that record is applied after it. The log
    has no ``record`` of it, that is made up to be named as a cause.
    """

    timer: Timer


class Joined(Moment, frozen=True, kw_only=True, gc=False):
    """A membership that a customer entered or left at this place; ``record`` told it.

    ``is_late`` where its place had been passed when a rule first asked for a segment: it says what
    is true, and sets nothing off.
    """

    change: MembershipChanged
    is_late: bool


class Doubled(msgspec.Struct, frozen=True, gc=False):
    """A fact that stands at both customers of a merge: what it caused at the merged one goes.

    ``judged`` are the definitions that judge it.
    """

    change: Change
    judged: Snapshot


class TakeOver(Moment, frozen=True, kw_only=True, gc=False):
    """What a closed customer had comes to the record's subject: the survivor, or its heir.

    ``doubled`` is in the order of the merged customer's log.
    """

    told: CustomerMerged
    doubled: tuple[Doubled, ...] = ()

    @property
    def merged(self) -> str:
        """The closed customer."""
        return self.told.merged


class Late(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is told of a closed customer: ``record`` as it will stand for the survivor, its subject.

    ``told`` is what it says; what is sealed in it was sealed for ``customer``, the closed one.
    """

    record: CloudEvent
    told: EventData | CustomerMerged
    customer: str


class Output(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that a model wants appended, keyed by its customer; ``id`` derives from the cause.

    ``time`` is when it occurred. ``cause`` is what caused it.
    """

    topic: str
    type: str
    id: str
    customer: str
    time: datetime
    data: msgspec.Raw
    cause: Moment


class RawOutput(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An output that stands on its topic as the very bytes of ``value``, no CloudEvent around it.

    Source and sequence go into Kafka headers. It is keyed by ``customer``, whose partition is
    ``partition``. The value must tell itself from every other: it bears an id that derives from
    the cause.
    """

    topic: str
    partition: int
    customer: str
    value: bytes


Effect = Output | Timer
"""What a model answers besides the change of its rows."""


class Definitions(Protocol):
    """The definitions as this process has read them so far."""

    @property
    def catalogue(self) -> Catalogue:
        """Every revision read so far."""
        ...

    async def wait_for(self, workspace: str, revision: int) -> None:
        """Return once the workspace's definitions are known up to this revision."""
        ...


W = TypeVar("W")


class Projection(Protocol[W]):
    """What the kernel asks of a projection. ``W`` is a partition's working set in memory.

    The working set belongs to one partition: rows read so far (bounded) and changes not yet
    written. It is dropped whenever a transaction did not surely commit.
    """

    @property
    def name(self) -> str:
        """Name in groups, schemas, metrics: ``loyalty``."""
        ...

    @property
    def version(self) -> int:
        """Version of the model: a generation is written by one version only."""
        ...

    @property
    def migrations(self) -> Path:
        """Folder of the DDL of its tables."""
        ...

    @property
    def keeps_content(self) -> bool:
        """Whether ``Change.before`` must carry the content of every fact, not only of versions."""
        ...

    def working_set(self) -> W:
        """Make an empty working set for a partition."""
        ...

    async def load(self, session: Session, working: W, steps: Sequence[Step]) -> None:
        """Read the rows that these steps may touch into the working set, by sets."""
        ...

    def apply(self, working: W, step: Step) -> Iterable[Effect]:
        """Fold one step into the working set; pure besides. What it raises is a dead letter."""
        ...

    async def write(
        self, session: Session, working: W, *, live: bool
    ) -> Sequence[Output | RawOutput]:
        """Write the changes inside the kernel's transaction; return outputs only the rows can tell.

        Called once a batch, after every step was applied.
        """
        ...

    async def verify(self, session: Session) -> list[str]:
        """Check the read model's own laws; answer a sentence for each that is broken."""
        ...


@runtime_checkable
class Merging(Protocol):
    """What the kernel asks besides of a projection whose rows go over in a merge."""

    async def take_over(self, session: Session, taking: TakeOver) -> Sequence[Output]:
        """Hand the merged customer's rows to the record's subject, inside the kernel's transaction.

        Nothing else is applied in it, and the working set is dropped after it. Each row keeps where
        it came from (``origins``).
        """
        ...


@runtime_checkable
class Forwarding(Protocol):
    """What the kernel asks besides of the one projection that passes late records on."""

    async def seal_anew(self, session: Session, late: Sequence[Late]) -> Sequence[msgspec.Raw]:
        """Answer the data of each record, with what is sealed in it sealed for the new subject.

        What it raises makes the record a dead letter.
        """
        ...


@runtime_checkable
class Timed(Projection[W], Protocol[W]):
    """What the kernel asks besides of a projection that sets timers."""

    async def load_due(self, session: Session, working: W, due: Sequence[Timer]) -> None:
        """Read the rows that these timers may touch into the working set, by sets.

        A timer that is set and due within one batch is not among them: its customer's rows are
        those that the step which set it had.
        """
        ...

    def fire(self, working: W, firing: Firing) -> Iterable[Effect]:
        """Fold a firing into the working set; pure besides. What it raises is a dead letter."""
        ...


class Naming(Protocol):
    """Who knows which outcomes of its own come back as events."""

    @property
    def kinds(self) -> frozenset[str]:
        """Its kinds, of ``contracts.internal_events``."""
        ...

    def named(self, snapshot: Snapshot) -> frozenset[str]:
        """Which of its kinds these definitions name."""
        ...


@runtime_checkable
class Feeding(Projection[W], Naming, Protocol[W]):
    """What the kernel asks besides of a projection whose outcomes come back as events.

    It answers each of them as an ``Output`` to ``customer.events``; the kernel lets through those
    of kinds that the definitions in force name, and passes over its own when it meets them.
    """

    async def state(
        self,
        session: Session,
        moment: Moment,
        kinds: frozenset[str],
        *,
        after: str,
        customers_max: int,
    ) -> tuple[Sequence[Output], str | None]:
        """State what stands of kinds that were never named before, customer by customer.

        Args:
            moment: whose workspace and partition it is, and the outputs' cause.
            after: customers up to this id have been stated; empty at the start.

        Returns:
            The outputs of the next customers, and the last of them; None when there is no other.
        """
        ...


@runtime_checkable
class Asking(Projection[W], Protocol[W]):
    """What the kernel asks besides of a projection whose rules may ask for a segment."""

    def asks(self, snapshot: Snapshot) -> bool:
        """Whether a rule among these definitions names a segment."""
        ...

    async def load_joining(
        self, session: Session, working: W, changes: Sequence[MembershipChanged]
    ) -> None:
        """Read the rows that these changes of membership may touch, by sets."""
        ...

    def join(self, working: W, joined: Joined) -> Iterable[Effect]:
        """Fold a change of membership into the working set; pure besides."""
        ...
