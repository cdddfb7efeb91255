"""``python -m services.gateway``: the front door's process."""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager

import uvicorn
import uvloop
from starlette.applications import Starlette

from contracts.topics import CUSTOMER_EVENTS
from services.gateway.app import FrontDoor, Route
from services.gateway.bodies import Bodies
from services.gateway.bounds import (
    CONNECTIONS_MAX,
    DESCRIPTORS_BESIDES,
    FORWARD_CONNECT_SECONDS,
    FORWARD_CONNECTIONS_MAX,
    FORWARD_SECONDS,
    KAFKA_SILENCE_SECONDS_MAX,
    KEEP_ALIVE_SECONDS,
    STOP_SECONDS,
)
from services.gateway.events import Events
from services.gateway.identity import Customers
from services.gateway.intake import Intake
from services.gateway.protocol import FrontDoorProtocol
from services.gateway.staleness import Staleness
from services.runtime.access import KeyStore
from services.runtime.clock import SystemClock
from services.runtime.definitions import DefinitionsFollower
from services.runtime.health import health_routes
from services.runtime.kafka.appender import Appender
from services.runtime.kafka.producer import Producer
from services.runtime.logging import configure_logging, logger
from services.runtime.loopback import open_loopback
from services.runtime.postgres import open_pool
from services.runtime.sealing import MasterKey
from services.runtime.settings import Settings, load_settings

LOOPBACK = "127.0.0.1"
COLLECT_AFTER = (50_000, 20, 50)
"""Objects before a collection: a batch makes thousands, none of them in cycles."""

_log = logger(__name__)


class Server(uvicorn.Server):
    """Leaves the signals to ``serve``, which has more to stop than the server."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


async def serve(settings: Settings, listener: socket.socket, stopping: asyncio.Event) -> None:
    """Serve on a listening socket until ``stopping`` is set, then finish what is under way."""
    async with AsyncExitStack() as stack:
        app = await _assemble(settings, stack)
        config = uvicorn.Config(
            app,
            http=FrontDoorProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        waiting.cancel()
        await serving


async def _assemble(settings: Settings, stack: AsyncExitStack) -> FrontDoor:
    """Open everything that the front door stands on, to be closed by ``stack``."""
    prefix = settings.topic_prefix
    definitions = DefinitionsFollower(settings.kafka, prefix=prefix)
    await definitions.start()
    stack.push_async_callback(definitions.stop)
    producer = Producer(settings.kafka, prefix=prefix, client_id="upshot-gateway")
    await producer.start()
    stack.push_async_callback(producer.stop)
    appender = Appender(producer, CUSTOMER_EVENTS)
    stack.push_async_callback(appender.drain)
    pool = await stack.enter_async_context(open_pool(settings.postgres))
    keys = KeyStore(pool)
    stack.push_async_callback(keys.stop)
    api = await stack.enter_async_context(
        open_loopback(
            LOOPBACK,
            settings.api_port,
            connections_max=FORWARD_CONNECTIONS_MAX,
            connect_seconds=FORWARD_CONNECT_SECONDS,
            read_seconds=FORWARD_SECONDS,
        )
    )
    master = MasterKey.parse(settings.master_key.get_secret_value())
    staleness = Staleness(pool, max_seconds=settings.staleness_max)
    staleness.start()
    stack.push_async_callback(staleness.stop)
    customers = Customers(pool, master, partitions=settings.partitions)
    events = Events(
        intake=Intake(customers, appender),
        customers=customers,
        appender=appender,
        definitions=definitions,
        staleness=staleness,
        clock=SystemClock(),
    )

    def unready() -> list[str]:
        if definitions.age_seconds() > KAFKA_SILENCE_SECONDS_MAX:
            return ["The log cannot be reached; the definitions known here grow old."]
        return []

    return FrontDoor(
        routes={
            "/v1/events": Route(scope="events:write", handler=events.one, api_reads=True),
            "/v1/events/batch": Route(scope="events:write", handler=events.batch, api_reads=False),
            "/v1/customers": Route(
                scope="customers:write", handler=events.customer, api_reads=True
            ),
        },
        health=Starlette(routes=health_routes(unready)),
        keys=keys,
        api=api,
        bodies=Bodies(),
    )


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    listener = socket.create_server((settings.host, settings.port), backlog=2048)
    _log.info("The gateway is starting", host=settings.host, port=listener.getsockname()[1])
    await serve(settings, listener, stopping)
    _log.info("The gateway has stopped")


def _allow_connections() -> None:
    """Raise the number of descriptors towards what ``CONNECTIONS_MAX`` needs, as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, CONNECTIONS_MAX + DESCRIPTORS_BESIDES)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    settings = load_settings()
    configure_logging("gateway", level=settings.log_level, log_format=settings.log_format)
    _allow_connections()
    gc.freeze()  # what was imported stays
    gc.set_threshold(*COLLECT_AFTER)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


if __name__ == "__main__":
    main()
