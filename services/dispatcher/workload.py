"""What the dispatcher's process hosts: the projection, a sender, and the outbox of the topic.

Guarantee: what was just committed is looked for at once; sender and outbox are kept running, and
while either cannot work the process says that it is not ready, and why.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from random import SystemRandom
from typing import Final

import structlog

from contracts.definitions.endpoints import Endpoint
from contracts.topics import WEBHOOKS
from services.dispatcher.deliveries import EndpointKey, NewMessage, migrate_deliveries
from services.dispatcher.endpoint_secrets import SecretStore
from services.dispatcher.outbox import Outbox
from services.dispatcher.projection import Dispatcher
from services.dispatcher.retention import Retention
from services.dispatcher.retry_schedule import first_wait_seconds
from services.dispatcher.sender import Sender
from services.runtime.clock import SystemClock
from services.runtime.definitions import DefinitionsFollower
from services.runtime.egress import open_egress
from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.producer import Producer
from services.runtime.sealing import MasterKey
from services.runtime.settings import Settings

ANNOUNCE_SECONDS: Final = 1.0
"""How long after it was written an endpoint's message is announced with every commit: which commit
was its own is not known, and a look too many costs little."""
RESTART_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Dispatching:
    """The dispatcher's workload."""

    def __init__(self, settings: Settings) -> None:
        master = MasterKey.parse(settings.master_key.get_secret_value())
        self.projection = Dispatcher(
            master,
            first_wait_seconds=first_wait_seconds(settings.webhook_retry_schedule),
            written=self._wrote,
        )
        self._settings = settings
        self._secrets = SecretStore(master)
        prefix = settings.topic_prefix
        self._definitions = DefinitionsFollower(settings.kafka, prefix=prefix)
        self._producer = Producer(settings.kafka, prefix=prefix, client_id="upshot-webhooks")
        self._outbox = Outbox(
            settings.postgres,
            self._producer,
            lambda: Consumer(settings.kafka, WEBHOOKS, prefix=prefix),
        )
        self._sender: Sender | None = None
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._written: dict[EndpointKey, float] = {}

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
        for name, run in (
            ("sender", self._sender.run),
            ("outbox", self._outbox.run),
            ("retention", retention.run),
        ):
            self._tasks.append(asyncio.create_task(_kept_running(name, run), name=name))

    async def stop(self) -> None:
        """Let running attempts end, then close everything."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        await self._stack.aclose()
        await self._producer.stop()
        await self._definitions.stop()

    def committed(self) -> None:
        """Look for what was written a moment ago."""
        if not self._written:
            return
        oldest = time.monotonic() - ANNOUNCE_SECONDS
        if self._sender is not None:
            self._sender.announce(self._written)
        self._outbox.announce()
        self._written = {key: at for key, at in self._written.items() if at >= oldest}

    def not_ready(self) -> list[str]:
        """Say why webhooks do not go out, a sentence each."""
        troubles = (None if self._sender is None else self._sender.trouble, self._outbox.trouble)
        return [f"webhooks: {trouble}" for trouble in troubles if trouble is not None]

    def _wrote(self, messages: Sequence[NewMessage]) -> None:
        now = time.monotonic()
        for message in messages:
            if (key := message.owed_to) is not None:
                self._written[key] = now

    def _endpoint(self, key: EndpointKey) -> Endpoint | None:
        return self._definitions.catalogue.latest(key.workspace).endpoints.get(key.name)


async def _kept_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Start again what ended by an error nobody foresaw; what it had claimed is claimed again."""
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - the error is logged, and the part's work must go on
            _log.exception("a part of the dispatcher ended and is started again", part=name)
            await asyncio.sleep(RESTART_SECONDS)
