"""Whose event it is: identifiers to customers, from a bounded cache over the registry.

Guarantee: what is used of the cache is at most ``IDENTITY_AGE_SECONDS_MAX`` old, so known customers
get in that long while Postgres is away; unknown ones raise. Customers asked for at one time are
looked up, and new ones registered, in one transaction.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar

from msgspec import Struct

from contracts.identifiers import CustomerId, WorkspaceName
from contracts.partitioner import partition_of
from services.gateway.bounds import (
    CLAIMS_MAX,
    IDENTITIES_KEPT_MAX,
    IDENTITY_AGE_SECONDS_MAX,
)
from services.gateway.registrations import Claim, Found, Registrations, find_only, register
from services.runtime.postgres import DatabaseUnavailableError, Pool, translated
from services.runtime.sealing import MasterKey

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """A bounded map that forgets what was not used lately.

    Two generations: what is used moves to the young one; when that is full it becomes the old one
    and the old one is dropped. A use costs one lookup, not a move in a list.
    """

    def __init__(self, generation_max: int) -> None:
        self._generation_max: int = generation_max
        self._young: dict[KeyT, ValueT] = {}
        self._old: dict[KeyT, ValueT] = {}

    def get(self, key: KeyT) -> ValueT | None:
        """What is kept under a key."""
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: KeyT, value: ValueT) -> None:
        """Keep a value."""
        if len(self._young) >= self._generation_max:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def drop(self, key: KeyT) -> None:
        """Forget a key."""
        self._young.pop(key, None)
        self._old.pop(key, None)


class Identity:
    """A customer as known to this process: id, place in the log, key, and the last blob made.

    ``sealing_key`` is None of a customer that was erased: nothing more is sealed for it.
    """

    __slots__ = (
        "blob",
        "customer",
        "is_refreshed",
        "key",
        "partition",
        "plain",
        "read_at",
        "sealing_key",
    )

    def __init__(
        self, customer: CustomerId, sealing_key: bytes | None, partitions: int, read_at: float
    ) -> None:
        self.customer: Final = customer
        self.key: Final = customer.encode()
        self.partition: Final = partition_of(self.key, partitions)
        self.sealing_key: Final = sealing_key
        self.read_at: float = read_at
        self.is_refreshed: bool = False
        self.plain: bytes = b""
        self.blob: str = ""

    def is_current(self, now: float) -> bool:
        """True while what is known may still be used; ``now`` is monotonic."""
        return now - self.read_at < IDENTITY_AGE_SECONDS_MAX


class Resolution(Struct, frozen=True, gc=False):
    """Whose a claim is; ``identity`` None of an unknown id.

    ``foreign`` are the kinds of identifiers that belong to another customer, and stay there.
    """

    identity: Identity | None
    foreign: tuple[str, ...] = ()


_Key = tuple[str, str, str]


class _Waiting(Struct, frozen=True):
    workspace: WorkspaceName
    claims: Sequence[Claim]
    answer: asyncio.Future[list[Resolution]]


class Customers:
    """Resolves claims; unknown customers are registered."""

    def __init__(self, pool: Pool, master: MasterKey, *, partitions: int) -> None:
        self._pool: Pool = pool
        self._registrations: Registrations = Registrations(master)
        self._partitions: int = partitions
        self._known: Recent[_Key, Identity] = Recent(IDENTITIES_KEPT_MAX)
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._refreshing: set[asyncio.Task[None]] = set()

    def known(self, workspace: WorkspaceName, claim: Claim) -> Resolution | None:
        """Whose a claim is, by what is kept; None where that does not say."""
        now = time.monotonic()
        owner: Identity | None = None
        foreign: list[str] = []
        for kind, value in claim.identifiers():
            identity = self._known.get((workspace, kind, value))
            if identity is None or not identity.is_current(now):
                return None
            if owner is None:
                owner = identity
            elif identity.customer != owner.customer:
                foreign.append(kind)
        return Resolution(owner, tuple(foreign))

    async def resolve(self, workspace: WorkspaceName, claims: Sequence[Claim]) -> list[Resolution]:
        """Whose each claim is, in their order; customers not known yet are registered.

        Raises:
            DatabaseUnavailableError: some claim is not known and Postgres is away.
        """
        waiting = _Waiting(workspace, claims, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        return await waiting.answer

    def refresh(self, workspace: WorkspaceName, claim: Claim, known: Resolution) -> None:
        """Read again beside its use what is known by a claim; one read at a time for each."""
        identity = known.identity
        if identity is None or identity.is_refreshed:
            return
        identity.is_refreshed = True
        task = asyncio.create_task(self._refresh(workspace, claim, identity, known.foreign))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def _refresh(
        self,
        workspace: WorkspaceName,
        claim: Claim,
        identity: Identity,
        foreign: tuple[str, ...],
    ) -> None:
        read_at = time.monotonic()
        try:
            (found,) = await self.resolve(workspace, [claim])
        except DatabaseUnavailableError:
            return  # what is known serves until it is too old
        finally:
            identity.is_refreshed = False
        is_same = (
            found.identity is not None
            and found.identity.customer == identity.customer
            and found.identity.sealing_key == identity.sealing_key
            and found.foreign == foreign
        )
        identity.read_at = read_at if is_same else float("-inf")

    async def look_up(self, workspace: WorkspaceName, claim: Claim) -> Resolution:
        """Whose a claim is, registering nobody: ``identity`` is None of an unknown customer."""
        with translated():
            async with self._pool.connection() as session:
                found = await find_only(session, self._registrations, workspace, claim)
        return self._resolution(workspace, claim, found, time.monotonic(), keep=False)

    async def release(
        self, workspace: WorkspaceName, identity: Identity, kinds: Sequence[str]
    ) -> None:
        """Take identifiers of these kinds from a customer: others may claim them from now on."""
        with translated():
            async with self._pool.connection() as session:
                released = await self._registrations.release(
                    session, workspace, identity.customer, kinds
                )
        identity.read_at = float("-inf")
        for kind, value in released:
            self._known.drop((workspace, kind, value))

    async def _serve(self) -> None:
        """Resolve what waits, all of a workspace together, until nothing does."""
        try:
            while self._waiting:
                taken, self._waiting = self._waiting, []
                for group in _groups(taken):
                    await self._serve_group(group)
        finally:
            self._task = None

    async def _serve_group(self, group: list[_Waiting]) -> None:
        workspace = group[0].workspace
        claims = [claim for waiting in group for claim in waiting.claims]
        read_at = time.monotonic()
        try:
            with translated():
                async with self._pool.connection() as session:
                    found = await register(session, self._registrations, workspace, claims)
        except Exception as error:  # noqa: BLE001 - each request that waits decides by itself
            for waiting in group:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        resolutions = iter(
            [
                self._resolution(workspace, claim, each, read_at, keep=True)
                for claim, each in zip(claims, found, strict=True)
            ]
        )
        for waiting in group:
            answers = [next(resolutions) for _ in waiting.claims]
            if not waiting.answer.done():
                waiting.answer.set_result(answers)

    def _resolution(
        self,
        workspace: WorkspaceName,
        claim: Claim,
        found: Found | None,
        read_at: float,
        *,
        keep: bool,
    ) -> Resolution:
        if found is None:
            return Resolution(None)
        identity = Identity(found.customer, found.sealing_key, self._partitions, read_at)
        before = self._known.get((workspace, "id", found.customer))
        if before is not None and before.sealing_key == identity.sealing_key:
            identity.plain, identity.blob = before.plain, before.blob
        if keep:
            self._known.put((workspace, "id", found.customer), identity)
            for kind, value in claim.identifiers():
                if kind not in found.foreign:
                    self._known.put((workspace, kind, value), identity)
        return Resolution(identity, found.foreign)


def _groups(taken: list[_Waiting]) -> Iterator[list[_Waiting]]:
    """What waits, by workspace, each group at most ``CLAIMS_MAX`` claims or one request."""
    by_workspace: dict[WorkspaceName, list[_Waiting]] = {}
    for waiting in taken:
        by_workspace.setdefault(waiting.workspace, []).append(waiting)
    for queue in by_workspace.values():
        group: list[_Waiting] = []
        count = 0
        for waiting in queue:
            if group and count + len(waiting.claims) > CLAIMS_MAX:
                yield group
                group, count = [], 0
            group.append(waiting)
            count += len(waiting.claims)
        yield group
