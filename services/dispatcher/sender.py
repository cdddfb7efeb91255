"""Sends what is due: a lane for each endpoint, one conversation with Postgres for all.

Guarantee: one endpoint's slowness takes nothing from another: each has its own lane, and only a
lane with room claims. All results and claims of a moment travel in one transaction; while it runs,
the next ones gather. With Postgres away nothing new is claimed, and what ended meanwhile is
written down as soon as it is back.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import structlog

from projections.kernel.partition import prefer_key_lookups
from services.dispatcher import claims, send, upkeep
from services.dispatcher.claims import Claimed, Settlement
from services.dispatcher.deliveries import SCHEMA, EndpointKey
from services.dispatcher.endpoint_secrets import SecretStore
from services.dispatcher.lanes import EndpointLookup, Lanes
from services.dispatcher.retry_schedule import Schedule
from services.dispatcher.send import Attempted
from services.dispatcher.upkeep import Sight
from services.runtime import metrics
from services.runtime.clock import Clock
from services.runtime.egress import Egress
from services.runtime.postgres import DatabaseUnavailableError, Session, connect, translated

LOOK_SECONDS: Final = 0.5
"""How often the queue is searched for what is due unannounced: retries, redrives, lost claims."""
COUNT_SECONDS: Final = 5.0
"""How often what is due is counted, for the metrics."""
RECONNECT_SECONDS: Final = 0.5
SETTLEMENTS_MAX: Final = 2_000
"""Results in one transaction."""
STOP_SECONDS: Final = 3.0
"""How long running attempts may take to end when the process stops; the rest are made again."""

_log = structlog.get_logger(__name__)


class Sender:
    """Claims, sends and settles until cancelled; one in each process.

    ``trouble`` says why nothing can be claimed now, in a sentence; it is None when all is well.
    """

    def __init__(
        self,
        conninfo: str,
        egress: Egress,
        endpoints: EndpointLookup,
        secrets: SecretStore,
        *,
        schedule: Schedule,
        clock: Clock,
        random: Random,
    ) -> None:
        self._conninfo = conninfo
        self._egress = egress
        self._endpoints = endpoints
        self._secrets = secrets
        self._schedule = schedule
        self._clock = clock
        self._random = random
        self._lanes = Lanes(endpoints)
        self._settlements: list[Settlement] = []
        self._attempts: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._number: int | None = None
        self._look_at = 0.0
        self._count_at = 0.0
        self.trouble: str | None = "not connected to Postgres yet"

    def announce(self, endpoints: Iterable[EndpointKey]) -> None:
        """Look for deliveries of these endpoints at once: some were just committed."""
        self._lanes.announce(endpoints, _now())
        self._moved.set()

    async def run(self) -> None:
        """Work until cancelled; then let running attempts end and write them down."""
        while True:
            try:
                with translated():
                    await self._work()
            except DatabaseUnavailableError as error:
                self.trouble = str(error)
                _log.warning("deliveries wait for Postgres", detail=str(error))
                metrics.RETRIES.labels(action="deliveries").inc()
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _work(self) -> None:
        session = await connect(self._conninfo, schema=SCHEMA)
        try:
            sender = await self._begin(session)
            self.trouble = None
            while True:
                await self._something_to_do()
                await self._turn(session, sender)
        except asyncio.CancelledError:
            await self._end()
            raise
        finally:
            with suppress(Exception):
                await session.close()

    async def _begin(self, session: Session) -> int:
        await prefer_key_lookups(session)
        # A result lost with a crashed server is only delivered again, under the same id.
        await session.execute("SELECT set_config('synchronous_commit', 'off', false)")
        if self._number is None:
            self._number = await claims.new_sender(session)
        await claims.show_life(session, self._number)
        self._look_at = 0.0
        return self._number

    async def _something_to_do(self) -> None:
        until = min(self._look_at, self._lanes.next_look())
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._moved.wait()
        self._moved.clear()

    async def _turn(self, session: Session, sender: int) -> None:
        """Write down what ended, claim what there is room for, and start it."""
        if _now() >= self._look_at:
            await self._look(session, sender)
        settlements, wants = self._settlements[:SETTLEMENTS_MAX], self._lanes.wants(_now())
        if not settlements and not wants:
            return
        done = await claims.exchange(session, sender, settlements, wants)
        del self._settlements[: len(settlements)]
        self._lanes.take(done, settlements, _now())
        keys = {claimed.endpoint for claimed in done.claimed}
        await self._secrets.refresh(session, list(keys))
        for key in keys:
            self._start(key)

    async def _look(self, session: Session, sender: int) -> None:
        """Search the queue for what nobody announces."""
        self._look_at = _now() + LOOK_SECONDS
        if _now() >= self._count_at:
            self._count_at = _now() + COUNT_SECONDS
            metrics.DELIVERIES_DUE.set(await upkeep.count_due(session))
        late = self._lanes.take_back(_now())
        if late:
            await upkeep.give_back(session, sender, [claimed.delivery for claimed in late])
        await upkeep.release_lost(session)
        sights = await upkeep.look(session)
        await self._tidy(session, sights)
        due = [each.endpoint for each in sights if each.has_due and not each.is_disabled]
        self._lanes.announce(due, _now())

    async def _tidy(self, session: Session, sights: Sequence[Sight]) -> None:
        """End what can go no further, and let go what need not wait any more."""
        disabled = [each.endpoint for each in sights if each.is_disabled]
        defined = {each.endpoint: self._endpoints(each.endpoint) for each in sights}
        undefined = [key for key, endpoint in defined.items() if endpoint is None]
        if disabled or undefined:
            await upkeep.disable_due(session, disabled, undefined)
        unordered = [
            each.endpoint
            for each in sights
            if each.has_behind and (endpoint := defined[each.endpoint]) and not endpoint.ordered
        ]
        if unordered:
            await upkeep.forget_order(session, unordered)

    def _start(self, key: EndpointKey) -> None:
        for claimed in self._lanes.start(key):
            task = asyncio.create_task(self._attempt(claimed))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)

    async def _attempt(self, claimed: Claimed) -> None:
        attempted = await self._attempted(claimed)
        settlement = send.conclude(
            attempted,
            self._schedule,
            now=self._clock.now(),
            randomness=self._random.random(),
        )
        metrics.DELIVERY_ATTEMPTS.labels(outcome=settlement.state).inc()
        metrics.DELIVERY_SECONDS.observe(attempted.duration_ms / 1000)
        self._settlements.append(settlement)
        self._lanes.finish(claimed.endpoint, attempted.duration_ms / 1000)
        self._start(claimed.endpoint)
        self._moved.set()

    async def _attempted(self, claimed: Claimed) -> Attempted:
        key, at = claimed.endpoint, self._clock.now()
        try:
            prepared = send.prepare(claimed, self._endpoints(key), self._secrets.get(key), at)
            if isinstance(prepared, Attempted):
                return prepared
            return await send.attempt(self._egress, prepared)
        except Exception as error:  # noqa: BLE001 - one endpoint's oddity must stop no other's
            _log.exception("an attempt broke", workspace=key.workspace, endpoint=key.name)
            return send.broken(claimed, at, error)

    async def _end(self) -> None:
        """Write down what ends in time; claims of the rest end with the session."""
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=STOP_SECONDS)
        for task in self._attempts:
            task.cancel()
        if not self._settlements or self._number is None:
            return
        with suppress(DatabaseUnavailableError), translated():
            session = await connect(self._conninfo, schema=SCHEMA)
            try:
                await claims.exchange(session, self._number, self._settlements, ())
            finally:
                await session.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
