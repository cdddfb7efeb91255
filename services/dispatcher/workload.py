"""What the dispatcher's process hosts: the projection, and a sender beside it.

Guarantee: what was just committed is sent at once; the sender is kept running, and while it cannot
work the process says that it is not ready, and why.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from random import SystemRandom
from typing import Final

import structlog

from contracts.definitions.endpoints import Endpoint
from services.dispatcher.deliveries import EndpointKey, NewMessage, migrate_deliveries
from services.dispatcher.endpoint_secrets import SecretStore
from services.dispatcher.projection import Dispatcher
from services.dispatcher.retention import Retention
from services.dispatcher.retry_schedule import first_wait_seconds
from services.dispatcher.sender import Sender
from services.runtime.clock import SystemClock
from services.runtime.definitions import DefinitionsFollower
from services.runtime.egress import open_egress
from services.runtime.sealing import MasterKey
from services.runtime.settings import Settings

RESTART_SECONDS: Final = 1.0

_written: ContextVar[frozenset[EndpointKey]] = ContextVar("_written", default=frozenset())
"""Endpoints owed something by this task's transaction: a partition's batches are applied, and their
commits told, by one task."""

_log = structlog.get_logger(__name__)


class Dispatching:
    """The dispatcher's workload."""

    def __init__(self, settings: Settings) -> None:
        master = MasterKey.parse(settings.master_key.get_secret_value())
        self.projection = Dispatcher(
            master,
            first_wait_seconds=first_wait_seconds(settings.webhook_retry_schedule),
            written=_note,
        )
        self._settings = settings
        self._secrets = SecretStore(master)
        self._definitions = DefinitionsFollower(settings.kafka, prefix=settings.topic_prefix)
        self._sender: Sender | None = None
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Bring the queue's schema up to date, then start sending and appending."""
        settings = self._settings
        await migrate_deliveries(settings.postgres)
        await self._definitions.start()
        egress = await self._stack.enter_async_context(open_egress(settings.webhook_allow))
        self._sender = Sender(
            settings.postgres,
            egress,
            self._endpoint,
            self._secrets,
            schedule=settings.webhook_retry_schedule,
            clock=SystemClock(),
            random=SystemRandom(),
        )
        retention = Retention(settings.postgres)
        for name, run in (("sender", self._sender.run), ("retention", retention.run)):
            self._tasks.append(asyncio.create_task(_kept_running(name, run), name=name))

    async def stop(self) -> None:
        """Let running attempts end, then close everything."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        await self._stack.aclose()
        await self._definitions.stop()

    def committed(self) -> None:
        """Send what this task's transaction wrote."""
        if (written := _written.get()) and self._sender is not None:
            self._sender.announce(written)
            _written.set(frozenset())

    def not_ready(self) -> list[str]:
        """Say why webhooks do not go out, a sentence each."""
        trouble = None if self._sender is None else self._sender.trouble
        return [] if trouble is None else [f"webhooks: {trouble}"]

    def _endpoint(self, key: EndpointKey) -> Endpoint | None:
        return self._definitions.catalogue.latest(key.workspace).endpoints.get(key.name)


def _note(messages: Sequence[NewMessage]) -> None:
    """Remember what a transaction writes until it is committed; one that failed costs a look."""
    owed = {key for message in messages if (key := message.owed_to) is not None}
    _written.set(_written.get() | owed)


async def _kept_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Start again what ended by an error nobody foresaw; what it had claimed is claimed again."""
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - the error is logged, and the part's work must go on
            _log.exception("a part of the dispatcher ended and is started again", part=name)
            await asyncio.sleep(RESTART_SECONDS)
