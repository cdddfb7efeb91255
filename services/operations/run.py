"""`upshot run`: the whole system on this machine, by one command.

Guarantee: what was started is stopped again, however this ends; the data folder keeps everything,
so the next start goes on where this one stopped. One start at a time holds a data folder.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Callable
from ipaddress import ip_network

import msgspec
from pydantic import SecretStr
from rich.console import Console

from services.operations.errors import FAILURE
from services.operations.screen import Screen
from services.operations.story import Story
from services.runtime.access import ensure_admin_key, new_secret
from services.runtime.kafka.errors import KafkaUnavailableError, TopicMismatchError
from services.runtime.kafka.topics import ensure_topics
from services.runtime.postgres import (
    ConninfoError,
    DatabaseUnavailableError,
    MigrationChangedError,
    check_conninfo,
    connect,
    migrate_control,
)
from services.runtime.sealing import MasterKey, MasterKeyError
from services.runtime.settings import Settings
from services.stack.data_folder import DataFolder
from services.stack.embedded_kafka import kafka_answers, kafka_plan
from services.stack.embedded_postgres import postgres_accepts, postgres_plan
from services.stack.errors import JarsUnavailableError, StackError
from services.stack.jars import are_present, kafka_jars
from services.stack.local_api import LocalApi, answers_ready, waits_for_definitions_alone
from services.stack.log_watch import LogWatch
from services.stack.ports import is_free, remembered_ports
from services.stack.process import leashed
from services.stack.processes import PORT_NAMES, SERVERS, front_door_url, own_processes
from services.stack.receiver import Receiver, new_receiver_secret
from services.stack.samples import receiver_endpoint, sample_definitions
from services.stack.supervisor import Supervisor

SERVER_READY_SECONDS = 120.0  # 3 on a machine at rest, 30 on one that is busy elsewhere
PROCESS_READY_SECONDS = 120.0  # 4 at rest: imports, the group, the definitions topic
DEFINITIONS_KNOWN_SECONDS = 15.0  # a tenth at rest
DEFINITIONS_POLL_SECONDS = 0.1
SAMPLE_EVENT = b"""{"event": "left_review", "metadata": {"review_type": "video", "rating": 5},
 "customer": {"source_id": "somebody"}}"""
MASTER_KEY_BYTES = 32
LOOPBACK_NETWORKS = (ip_network("127.0.0.0/8"),)
START_ERRORS = (
    StackError,
    KafkaUnavailableError,
    TopicMismatchError,
    DatabaseUnavailableError,
    MigrationChangedError,
)


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """All is up: where the front door and the receiver are, and which file has the key.

    ``admin_key_file`` is null where the settings named a key.
    """

    url: str
    receiver: str
    admin_key_file: str | None


async def run(settings: Settings, *, as_json: bool = False) -> int:
    """Start everything, show what events cause, stop everything on Ctrl-C or SIGTERM.

    Args:
        as_json: stdout gets a line of JSON when all is up (``Started``) and one for each thing that
            happens (``story.Happening``); what people read goes to stderr.

    Returns:
        the exit code: 0 after a stop that was asked for, 1 when the start failed.
    """
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    work = asyncio.ensure_future(_Run(settings, console, Screen(as_json=as_json)).serve())
    stop = _cancel_once(work, console)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await work
    except asyncio.CancelledError:
        console.print("Stopped. The data folder keeps everything for the next start.")
    except START_ERRORS as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            _explained(error), style="red", markup=False
        )
        return FAILURE
    return 0


def _explained(error: Exception) -> str:
    """Spell out why a start failed, and what to do."""
    match error:
        case KafkaUnavailableError():
            return f"Kafka does not answer ({error}). Start it, or name another by UPSHOT_KAFKA."
        case DatabaseUnavailableError():
            return (
                f"PostgreSQL does not answer ({error}). Start it, or name another by "
                "UPSHOT_POSTGRES."
            )
        case TopicMismatchError():
            return (
                f"Topics have other settings than Upshot needs: {error}. Change them, or name "
                "another cluster by UPSHOT_KAFKA."
            )
        case MigrationChangedError():
            return f"The migration {error} was edited after it ran. Put it back as it was."
        case _:
            return str(error)


def _cancel_once(work: asyncio.Future[None], console: Console) -> Callable[[], None]:
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:
            asked = True
            console.print("Stopping ...")
            work.cancel()

    return stop


class _Run:
    """One start, from the lock to the last child's end."""

    def __init__(self, settings: Settings, console: Console, screen: Screen) -> None:
        self._settings = settings
        self._console = console
        self._screen = screen
        self._supervisor = Supervisor(self._report)
        self._logs = LogWatch(self._report)

    def _report(self, sentence: str) -> None:
        self._console.print(sentence, style="yellow", markup=False)

    async def serve(self) -> None:
        """Run until cancelled."""
        settings = self._settings
        folder = DataFolder(settings.data_dir)
        with folder.held(front_door_url(settings)):
            _check_mode(settings)
            if not is_free(settings.port, settings.host):
                msg = f"Port {settings.port} is taken; choose another by UPSHOT_PORT."
                raise StackError(msg)
            ports = remembered_ports(folder.ports_file, PORT_NAMES)
            watching = asyncio.create_task(self._logs.follow(), name="watch logs")
            try:
                await self._serve(folder, ports)
            finally:
                await self._supervisor.stop()
                watching.cancel()

    async def _serve(self, folder: DataFolder, ports: dict[str, int]) -> None:
        secret, _ = folder.secret("receiver", "", new_receiver_secret)
        settings, key_is_new = self._with_secrets(folder)
        settings = await self._with_servers(settings, folder)
        await self._prepare(settings)
        await self._start_processes(settings, folder, ports)
        api = LocalApi(front_door_url(settings), settings.admin_key.get_secret_value())
        story = Story(self._console, api, self._screen)
        receiver = Receiver(ports["receiver"], secret, story.show_webhook)
        await receiver.start()
        try:
            await self._apply_samples(api, folder, receiver.url, secret)
            self._greet(settings, folder, receiver, key_is_new=key_is_new)
            await story.follow()
        finally:
            await receiver.stop()

    def _with_secrets(self, folder: DataFolder) -> tuple[Settings, bool]:
        given = self._settings
        admin_key, is_new = folder.secret(
            "admin-key", given.admin_key.get_secret_value(), new_secret
        )
        master_key, _ = folder.secret(
            "master-key",
            given.master_key.get_secret_value(),
            lambda: secrets.token_hex(MASTER_KEY_BYTES),
        )
        try:
            MasterKey.parse(master_key)
        except MasterKeyError as error:  # told here once, not by each process
            raise StackError(str(error)) from error
        filled = {
            "data_dir": folder.path,
            "admin_key": SecretStr(admin_key),
            "master_key": SecretStr(master_key),
            "webhook_allow": given.webhook_allow or LOOPBACK_NETWORKS,
        }
        return given.model_copy(update=filled), is_new

    async def _with_servers(self, settings: Settings, folder: DataFolder) -> Settings:
        """Start what is not given, both at once, and wait for both."""
        kafka, postgres = settings.kafka, settings.postgres
        try:
            check_conninfo(postgres)
        except ConninfoError as error:  # told before anything is started
            raise StackError(str(error)) from error
        if not postgres:
            plan, postgres = postgres_plan(folder.postgres)
            self._supervisor.start(plan, stage=SERVERS)
        if not kafka:
            await self._fetch_jars()
            plan, kafka = kafka_plan(folder.kafka, kafka_jars())
            self._supervisor.start(plan, stage=SERVERS)
        if not settings.postgres:
            await self._ready("postgres", lambda: postgres_accepts(postgres), SERVER_READY_SECONDS)
        if not settings.kafka:
            await self._ready("kafka", lambda: kafka_answers(kafka), SERVER_READY_SECONDS)
        return settings.model_copy(update={"kafka": kafka, "postgres": postgres})

    async def _fetch_jars(self) -> None:
        if are_present():
            return
        self._console.print("Fetching Kafka's jars, once (about 100 MB) ...")
        fetch = await asyncio.create_subprocess_exec(
            *leashed((sys.executable, "-m", "services.stack.jars"))
        )
        try:
            if await fetch.wait() != 0:
                msg = "Kafka's jars could not be fetched; check the network and start again."
                raise JarsUnavailableError(msg)
        finally:
            if fetch.returncode is None:
                fetch.terminate()

    async def _prepare(self, settings: Settings) -> None:
        """Bring topics and the control schema to what this version needs."""
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

    async def _start_processes(
        self, settings: Settings, folder: DataFolder, ports: dict[str, int]
    ) -> None:
        processes = own_processes(settings, folder, ports)
        for process in processes:
            self._logs.add(process.plan.name, process.plan.log_file)
            self._supervisor.start(process.plan, stage=process.stage)
        for process in processes:
            url = process.url
            await self._ready(
                process.plan.name,
                lambda url=url: answers_ready(url) or waits_for_definitions_alone(url),
                PROCESS_READY_SECONDS,
            )

    async def _ready(self, name: str, check: Callable[[], bool], deadline_seconds: float) -> None:
        await self._supervisor.ready(name, check, deadline_seconds)
        self._console.print(f"  {name} is ready", style="dim")

    async def _apply_samples(
        self, api: LocalApi, folder: DataFolder, url: str, secret: str
    ) -> None:
        """Apply the samples once; later starts only tell where the receiver has moved."""
        marker = folder.path / "samples-applied"
        told = marker.read_text() if marker.exists() else None
        revision = 0
        if told != url:
            render = sample_definitions if told is None else receiver_endpoint
            revision = await api.apply(render(receiver_url=url, receiver_secret=secret))
            marker.write_text(url)
        await _until_known(api, revision)

    def _greet(
        self, settings: Settings, folder: DataFolder, receiver: Receiver, *, key_is_new: bool
    ) -> None:
        url, file = front_door_url(settings), folder.path / "admin-key.secret"
        given = bool(self._settings.admin_key.get_secret_value())
        key = "$UPSHOT_ADMIN_KEY" if given else f"$(cat {file})"
        if key_is_new:
            shown = f"{settings.admin_key.get_secret_value()}   (shown once; kept in {file})"
        else:
            shown = "from the settings" if given else f"in {file}"
        self._console.print(
            GREETING.format(url=url, receiver=receiver.url, admin_key=shown, key=key), markup=False
        )
        started = Started(
            url=url, receiver=receiver.url, admin_key_file=None if given else str(file)
        )
        self._screen.json(started)


async def _until_known(api: LocalApi, revision: int) -> None:
    """Return once the gateway has read the definitions: they reach it by the log."""
    deadline = time.monotonic() + DEFINITIONS_KNOWN_SECONDS
    while not await api.would_accept(SAMPLE_EVENT, revision=revision):
        if time.monotonic() > deadline:
            return  # the samples may have been changed: it is not for the start to judge
        await asyncio.sleep(DEFINITIONS_POLL_SECONDS)


def _check_mode(settings: Settings) -> None:
    if settings.mode != "production":
        return
    needed = {
        "UPSHOT_MASTER_KEY": settings.master_key.get_secret_value(),
        "UPSHOT_ADMIN_KEY": settings.admin_key.get_secret_value(),
        "UPSHOT_KAFKA": settings.kafka,
        "UPSHOT_POSTGRES": settings.postgres,
    }
    missing = [name for name, value in needed.items() if not value]
    if missing:
        msg = f"In production mode these must be set: {', '.join(missing)}."
        raise StackError(msg)


GREETING = """
Upshot is running. Ctrl-C stops it.

  front door        {url}
  admin key         {admin_key}
  webhook receiver  {receiver}

Paste this into another terminal and watch what it causes:

  curl -sS {url}/v1/events \\
    -H "Authorization: Bearer {key}" -H 'Content-Type: application/json' \\
    -d '{{"event": "left_review", "metadata": {{"review_type": "video", "rating": 5}},
         "customer": {{"source_id": "alex", "email": "alex@domain.io", "name": "Alex Doe"}}}}'
"""
