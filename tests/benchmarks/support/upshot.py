"""Upshot's own processes on a run's servers: a database and topics of their own, events to send."""

import asyncio
import http.client
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import msgspec

from services.runtime.access import ensure_admin_key, new_secret
from services.runtime.kafka.topics import ensure_topics
from services.runtime.postgres import connect, migrate_control
from services.runtime.settings import Settings
from services.stack.data_folder import DataFolder
from services.stack.local_api import answers_ready
from services.stack.processes import PORT_NAMES, own_processes
from tests.benchmarks.support.kafka import PARTITIONS
from tests.benchmarks.support.processes import (
    Child,
    ChildFailedError,
    listening,
    python,
    running,
)
from tests.benchmarks.support.projecting import database
from tests.benchmarks.support.servers import Stack, free_port

MASTER_KEY = "00" * 32
BATCH_PATH = "/v1/events/batch?results=refused"
BATCH_EVENTS = 500
BATCH_SECONDS = 30.0
READY_SECONDS = 120.0
LOOK_SECONDS = 0.02


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    accepted: int


@asynccontextmanager
async def prepared(stack: Stack) -> AsyncGenerator[Settings]:
    """Settings of processes whose topics, control schema and admin key stand."""
    async with database(stack) as conninfo:
        settings = Settings.model_validate(
            {
                "data_dir": stack.scratch / f"upshot-{uuid4().hex[:8]}",
                "port": free_port(),
                "kafka": stack.kafka,
                "postgres": conninfo,
                "topic_prefix": f"benchmark-{uuid4().hex[:8]}-",
                "partitions": PARTITIONS,
                "admin_key": new_secret(),
                "master_key": MASTER_KEY,
                "webhook_allow": "127.0.0.0/8",
                "log_level": "warning",
            }
        )
        await ensure_topics(
            settings.kafka, prefix=settings.topic_prefix, partitions=settings.partitions
        )
        await migrate_control(settings.postgres)
        session = await connect(settings.postgres)
        try:
            key = settings.admin_key.get_secret_value()
            await ensure_admin_key(session, settings.workspace, key)
        finally:
            await session.close()
        yield settings


def headers(settings: Settings) -> dict[str, str]:
    """Headers of every request: the admin key and the type of the body."""
    return {
        "Authorization": f"Bearer {settings.admin_key.get_secret_value()}",
        "Content-Type": "application/json",
    }


def batch(events: Sequence[bytes]) -> bytes:
    """The body of a batch."""
    return b"[" + b",".join(events) + b"]"


class Front:
    """One kept connection to the front door, for what is not measured at the door."""

    def __init__(self, settings: Settings) -> None:
        self._headers = headers(settings)
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", settings.port, timeout=BATCH_SECONDS
        )

    async def tell(self, events: Sequence[bytes]) -> None:
        """Send events as one batch.

        Raises:
            ChildFailedError: not every one was accepted.
        """
        answer = await asyncio.to_thread(self._post, batch(events))
        taken = msgspec.json.decode(answer, type=_Taken)
        if taken.accepted != len(events):
            raise ChildFailedError(f"the gateway refused events: {answer[:500]!r}")

    def close(self) -> None:
        self._connection.close()

    def _post(self, body: bytes) -> bytes:
        self._connection.request("POST", BATCH_PATH, body, self._headers)
        answer = self._connection.getresponse()
        read = answer.read()
        if answer.status != http.client.OK:
            raise ChildFailedError(f"a batch was answered {answer.status}: {read[:500]!r}")
        return read


@asynccontextmanager
async def system(stack: Stack, settings: Settings) -> AsyncGenerator[dict[str, Child]]:
    """Every process of Upshot's, by name, all of them ready."""
    ports = {name: free_port() for name in PORT_NAMES}
    processes = own_processes(settings, DataFolder(settings.data_dir), ports)
    async with AsyncExitStack() as held:
        children: dict[str, Child] = {}
        for each in processes:
            children[each.plan.name] = await held.enter_async_context(
                running(
                    each.plan.command,
                    scratch=stack.scratch,
                    name=f"pipeline-{each.plan.name}",
                    environment=dict(each.plan.environment or {}),
                )
            )
        for each in processes:
            await ready(children[each.plan.name], each.url)
        yield children


async def ready(child: Child, url: str) -> None:
    """Wait until a child answers that it is ready."""
    deadline = time.monotonic() + READY_SECONDS
    while not await asyncio.to_thread(answers_ready, url):
        if child.process.returncode is not None or time.monotonic() > deadline:
            raise ChildFailedError(f"{url} is not ready, {child.complaint()}")
        await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def receiving(stack: Stack) -> AsyncGenerator[tuple[Child, int]]:
    """The local webhook receiver and its port."""
    port = free_port()
    argv = python("tests.benchmarks.support.receiver", str(port))
    async with running(argv, scratch=stack.scratch, name="receiver") as child:
        await listening(child, port)
        yield child, port
