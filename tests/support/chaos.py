"""Looking inside a running system, and breaking it: its servers, its rows, its processes.

What a test claims is read from Postgres and Kafka directly, so that it does not rest on the queries
it tests.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import LiteralString

import msgspec
import psycopg
from psycopg import sql

from contracts.places import Position
from services.runtime.kafka.consumer import Consumer, Incoming
from services.stack.ports import LOOPBACK, free_port
from tests.support.eventually import eventually_sync
from tests.support.upshot import Upshot, command_of

READ_RECORDS_MAX = 5_000
SETTLE_SECONDS = 120.0  # a backlog after an outage, on a machine that is busy elsewhere
READY_SECONDS = 90.0  # a processor imports, joins its group and claims its partitions
OPERATION_SECONDS = 120.0
ASK_SECONDS = 5.0
FREEZE_SECONDS = 10.0
KILL_SECONDS = 10.0
PROJECTIONS = ("customers", "loyalty", "dispatcher")


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition as ``GET /v1/projections`` tells it."""

    partition: int
    next_offset: int
    end_offset: int
    stopped: str | None


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """One generation as ``GET /v1/projections`` tells it."""

    name: str
    generation: int
    state: str
    partitions: list[Partition]
    lag_records: int


class ProjectionList(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``GET /v1/projections``."""

    data: list[Projection]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One compared table."""

    table: str
    live_rows: int
    next_rows: int
    equal: bool
    only_live: list[str] = []
    only_next: list[str] = []


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a compare found."""

    equal: bool
    tables: list[Table]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation as the api tells it."""

    id: str
    state: str
    report: msgspec.Raw = msgspec.Raw(b"null")


class Inside:
    """The servers and rows of a running system."""

    def __init__(self, upshot: Upshot) -> None:
        self.upshot = upshot
        self.settings = environment_of(upshot.child_pids()["gateway"])

    @property
    def postgres(self) -> str:
        """Conninfo of its database."""
        return self.settings["UPSHOT_POSTGRES"]

    @property
    def partitions(self) -> range:
        """Partitions of its partitioned topics."""
        return range(int(self.settings["UPSHOT_PARTITIONS"]))

    def rows(self, query: LiteralString, *parameters: object) -> list[tuple[object, ...]]:
        """Answer the rows of a query."""
        with psycopg.connect(self.postgres, connect_timeout=5) as session:
            return session.execute(sql.SQL(query), parameters).fetchall()

    def rows_of(
        self, projection: str, query: LiteralString, *parameters: object
    ) -> list[tuple[object, ...]]:
        """Answer the rows of a query in the live generation of a projection."""
        with psycopg.connect(self.postgres, connect_timeout=5) as session:
            session.execute(sql.SQL("SET search_path TO {}").format(self.schema(projection)))
            return session.execute(sql.SQL(query), parameters).fetchall()

    def schema(self, projection: str) -> sql.Identifier:
        """Name the schema of a projection's live generation."""
        ((number,),) = self.rows(
            "SELECT generation FROM upshot.generations WHERE projection = %s AND state = 'live'",
            projection,
        )
        return sql.Identifier(f"{projection}_g{number}")

    def has_applied(self, projection: str, position: Position) -> bool:
        """Return whether the live generation of a projection has passed a position."""
        rows = self.rows_of(
            projection,
            "SELECT next_offset > %s FROM checkpoints WHERE partition = %s",
            position.offset,
            position.partition,
        )
        return rows == [(True,)]

    def records(self, topic: str, partitions: Sequence[int] | None = None) -> list[Incoming]:
        """Read a topic from its start to its present end, partition by partition."""
        wanted = list(self.partitions if partitions is None else partitions)
        prefix = self.settings["UPSHOT_TOPIC_PREFIX"]
        return asyncio.run(_read(self.settings["UPSHOT_KAFKA"], prefix, topic, wanted))

    def projections(self) -> list[Projection]:
        """Read ``GET /v1/projections``; an outage is "not yet" for ``eventually_sync``."""
        answer = self.upshot.request("GET", "/v1/projections")
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body, type=ProjectionList).data

    def live(self, projection: str) -> Projection:
        """Find the live generation of a projection."""
        found = [each for each in self.projections() if each.name == projection]
        return next(each for each in found if each.state == "live")

    def wait_until_settled(self, deadline_seconds: float = SETTLE_SECONDS) -> None:
        """Return once everything appended is applied, relayed and delivered."""
        eventually_sync(self._is_settled, deadline_seconds)

    def _is_settled(self) -> bool:
        try:
            before = self._ends()
            waiting = {each: self._waiting(each) for each in PROJECTIONS}
            ((undelivered,),) = self.rows(_DELIVERIES_WAITING)
            after = self._ends()
        except (OSError, psycopg.OperationalError) as error:
            raise AssertionError("a server is away") from error
        assert before == after, f"it goes on: {before}, {after}"
        assert not any(waiting.values()), f"outboxes wait: {waiting}"
        assert undelivered == 0, f"{undelivered} wait"
        return True

    def _ends(self) -> dict[str, list[int]]:
        live = [each for each in self.projections() if each.state == "live"]
        stopped = {
            (each.name, part.partition): part.stopped
            for each in live
            for part in each.partitions
            if part.stopped
        }
        assert not stopped, str(stopped)
        behind = {each.name: each.lag_records for each in live if each.lag_records}
        assert not behind, f"records wait: {behind}"
        return {each.name: [part.end_offset for part in each.partitions] for each in live}

    def _waiting(self, projection: str) -> object:
        ((count,),) = self.rows_of(projection, "SELECT count(*) FROM outbox")
        return count

    def operate(self, verb: str, projection: str) -> msgspec.Raw:
        """Ask for an operation and wait for its report; it must succeed."""
        asked = self.upshot.request(
            "POST", "/v1/operations", json.dumps({"verb": verb, "projection": projection})
        )
        assert asked.status == 202, asked.body
        operation = msgspec.json.decode(asked.body, type=Operation).id

        def ended() -> Operation:
            answer = self.upshot.request("GET", f"/v1/operations/{operation}")
            found = msgspec.json.decode(answer.body, type=Operation)
            assert found.state in {"succeeded", "failed"}, answer.body
            return found

        done = eventually_sync(ended, OPERATION_SECONDS)
        assert done.state == "succeeded", done
        return done.report

    def assert_rebuild_equals_live(self, projection: str) -> None:
        """Rebuild a projection, compare it with the live one, drop it again."""
        self.operate("rebuild", projection)
        report = msgspec.json.decode(self.operate("compare", projection), type=Report)
        self.operate("drop", projection)
        different = [table for table in report.tables if not table.equal]
        assert report.equal and not different, different


_DELIVERIES_WAITING: LiteralString = """
SELECT count(*) FROM deliveries.deliveries WHERE state <> 'succeeded'"""


async def _read(kafka: str, prefix: str, topic: str, partitions: list[int]) -> list[Incoming]:
    consumer = Consumer(kafka, topic, prefix=prefix)
    await consumer.assign(dict.fromkeys(partitions, 0))
    found: list[Incoming] = []
    try:
        for partition, end in (await consumer.end_offsets(partitions)).items():
            offset = 0
            while offset < end:
                for record in await consumer.poll(partition, records_max=READ_RECORDS_MAX):
                    found.append(record)
                    offset = record.offset + 1
    finally:
        await consumer.stop()
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Return the variables that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def freeze(pid: int) -> None:
    """Stop a process, and return when each of its threads stands.

    A thread that runs is stopped some milliseconds after the signal: until then it may answer.
    """
    os.kill(pid, signal.SIGSTOP)
    eventually_sync(lambda: _stands(pid), FREEZE_SECONDS)


def _stands(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").iterdir()
    try:
        return all((each / "stat").read_text().rpartition(") ")[2][0] == "T" for each in threads)
    except (FileNotFoundError, ProcessLookupError):  # a thread ended meanwhile
        return False


@contextmanager
def frozen(pid: int) -> Generator[None]:
    """Hold a process stopped for the length of the block."""
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Companion:
    """One more process of a processor, started by hand."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
        self.process = process
        self.log_file = log_file
        self._port = port

    def freeze(self) -> None:
        """Stop it where it is."""
        freeze(self.process.pid)

    def wake(self) -> None:
        """Let it go on from there."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, frozen or not."""
        self.process.kill()
        self.process.wait(KILL_SECONDS)

    def is_ready(self) -> bool:
        """Return whether it says that every partition of its own moves."""
        return ask(self._port, "/readyz")[0] == HTTPStatus.OK

    def partitions(self) -> set[int] | None:
        """Return the partitions that it measures, which are those it has had; None before any."""
        measured = _LAG.findall(ask(self._port, "/metrics")[1].decode())
        return {int(partition) for partition in measured} or None

    def applied(self) -> int:
        """Return how many records it has applied."""
        found = _APPLIED.search(ask(self._port, "/metrics")[1].decode())
        return 0 if found is None else int(float(found[1]))


_LAG = re.compile(r'^upshot_lag_records\{partition="(\d+)",projection="loyalty"\}', re.MULTILINE)
_APPLIED = re.compile(r"^upshot_applied_records_total\{[^}]*\} (\S+)$", re.MULTILINE)


@contextmanager
def loyalty_companion(upshot: Upshot) -> Generator[Companion]:
    """Run another process of loyalty, with the environment of the first one."""
    first, port = upshot.child_pids()["loyalty"], free_port()
    log_file = upshot.data_dir / "logs" / f"companion-{port}.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [*command_of(first)[:3]],
            env=environment_of(first) | {"UPSHOT_HEALTH_PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Companion(process, port, log_file)
    try:
        yield started
    finally:
        started.kill()


def ask(port: int, path: str) -> tuple[int, bytes]:
    """GET from a process on loopback: status and body; silence is "not yet"."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError as error:
        raise AssertionError(f"port {port} does not answer") from error
    finally:
        connection.close()
