"""The process: it listens at once, brings its stores up behind, and stops in order.

Guarantee: a start does not depend on Postgres or Kafka being there; while they are away requests
are answered 503 and /readyz says why.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import uvicorn

from contracts.codec import encode
from contracts.topics import CUSTOMER_EVENTS
from services.api.app import App
from services.api.asyncapi import asyncapi_document
from services.api.decisions import Commands
from services.api.definitions.relay import DefinitionsRelay
from services.api.definitions.standing import Compiled
from services.api.log import Log
from services.api.openapi import openapi_document
from services.api.patience import keep_patience
from services.api.progress import Progress
from services.api.seats import command_seats, stream_seats, waiting_seats
from services.api.state import CHANGES_MAX, Api
from services.api.table import ROUTES
from services.runtime.access import KeyStore, ensure_admin_key
from services.runtime.clock import SystemClock
from services.runtime.kafka.appender import Appender
from services.runtime.kafka.producer import Producer
from services.runtime.logging import logger
from services.runtime.postgres import (
    DatabaseUnavailableError,
    InvalidRowError,
    connect,
    migrate_control,
    open_pool,
    translated,
)
from services.runtime.sealing import KeyRing, MasterKey
from services.runtime.settings import Settings

POOL_SIZE: Final = 16
"""Sessions of this process: reads are short, two cores answer no more at once."""
RETRY_SECONDS: Final = 1.0
"""Between two tries to bring Postgres' control schema up."""
KEEP_ALIVE_SECONDS: Final = 75
"""An idle connection of the front door stays open this long."""
STOP_SECONDS: Final = 5
"""How long requests under way may take to end."""

_log = logger(__name__)


async def serve(settings: Settings) -> None:
    """Run until a signal says to stop."""
    async with open_api(settings) as api:
        server = uvicorn.Server(
            uvicorn.Config(
                App(ROUTES, api),
                host=settings.host,
                port=settings.api_port,
                loop="uvloop",
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,  # the front door says it
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        api.preparing.add_done_callback(lambda task: _stop_if_failed(server, task))
        await server.serve()


def _stop_if_failed(server: uvicorn.Server, preparing: asyncio.Task[None]) -> None:
    """A start that cannot succeed (an edited migration) ends the process with that error."""
    if not preparing.cancelled() and preparing.exception() is not None:
        server.should_exit = True


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncGenerator[Api]:
    """Everything that routes stand on, for as long as the block runs."""
    producer = Producer(settings.kafka, prefix=settings.topic_prefix, client_id="upshot-api")
    async with open_pool(settings.postgres, size_max=POOL_SIZE) as pool:
        patience = asyncio.create_task(keep_patience(pool, settings.postgres), name="patience")
        relay = DefinitionsRelay(pool, producer, partitions=settings.partitions)
        keys = KeyStore(pool)
        progress = Progress(pool)
        appender = Appender(producer, CUSTOMER_EVENTS)
        commands = Commands(pool, progress, appender, partitions=settings.partitions)
        master = MasterKey.parse(settings.master_key.get_secret_value())
        api = Api(
            settings=settings,
            pool=pool,
            keys=keys,
            producer=producer,
            relay=relay,
            progress=progress,
            waits=waiting_seats(),
            streams=stream_seats(),
            commanding=command_seats(),
            commands=commands,
            log=Log(settings),
            compiled=Compiled(),
            changing=asyncio.Semaphore(CHANGES_MAX),
            preparing=asyncio.create_task(_prepare(settings, relay), name="prepare"),
            master=master,
            customer_keys=KeyRing(master),
            clock=SystemClock(),
            openapi=encode(openapi_document(ROUTES)),
            asyncapi=encode(asyncapi_document()),
        )
        try:
            yield api
        finally:
            api.preparing.cancel()
            patience.cancel()
            await commands.stop()
            await appender.drain()
            await relay.stop()
            await keys.stop()
            await api.log.stop()
            await producer.stop()
            with suppress(asyncio.CancelledError):
                await api.preparing
            with suppress(asyncio.CancelledError):
                await patience


async def _prepare(settings: Settings, relay: DefinitionsRelay) -> None:
    """Bring the control schema and the admin key up, then relay; retried without limit."""
    while True:
        try:
            await migrate_control(settings.postgres)
            await _put_admin_key(settings)
            break
        except (DatabaseUnavailableError, InvalidRowError) as error:
            _log.warning("Postgres is not ready yet.", reason=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
    relay.start()


async def _put_admin_key(settings: Settings) -> None:
    secret = settings.admin_key.get_secret_value()
    if not secret:
        return  # keys that were made before still let in
    session = await connect(settings.postgres)
    try:
        with translated():
            await ensure_admin_key(session, settings.workspace, secret)
    finally:
        await session.close()
