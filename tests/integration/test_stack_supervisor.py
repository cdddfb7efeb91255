"""Children are kept running, stop in order, and never outlive the process that started them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import psycopg
import pytest

from services.stack.embedded_kafka import kafka_answers, kafka_plan
from services.stack.embedded_postgres import postgres_accepts, postgres_plan
from services.stack.errors import ServerFailedError
from services.stack.jars import kafka_jars
from services.stack.process import Process, ProcessPlan
from services.stack.supervisor import Supervisor
from tests.support.eventually import eventually, eventually_sync
from tests.support.servers import SESSION_PARAMETERS, session_folder
from tests.support.upshot import family_of, is_alive

OBEDIENT = "import signal, sys; print('ready', flush=True); signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); signal.pause()\nwhile True: signal.pause()"
)
PARENT = """
import sys, time
from pathlib import Path
from services.stack.embedded_kafka import kafka_plan
from services.stack.embedded_postgres import postgres_plan, wait_for_postgres
from services.stack.jars import kafka_jars
from services.stack.process import Process

folder = Path(sys.argv[1])
kafka = Process(kafka_plan(folder / "kafka", kafka_jars())[0])
plan, conninfo = postgres_plan(folder / "postgres")
postgres = Process(plan)
wait_for_postgres(postgres, conninfo)
print(kafka.pid, postgres.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sentences() -> list[str]:
    return []


@pytest.fixture
async def supervisor(sentences: list[str]) -> AsyncGenerator[Supervisor]:
    made = Supervisor(sentences.append)
    yield made
    await made.stop()


async def test_a_killed_child_is_started_again_and_reported(
    supervisor: Supervisor, sentences: list[str], tmp_path: Path
) -> None:
    supervisor.start(_python("worker", OBEDIENT, tmp_path), stage=1)
    first = supervisor.pids["worker"]

    os.kill(first, signal.SIGKILL)
    await eventually(lambda: supervisor.pids["worker"] != first)

    assert len(sentences) == 1
    assert sentences[0].startswith("worker was ended by SIGKILL; starting it again in 0.2 s")
    assert is_alive(supervisor.pids["worker"])


async def test_a_child_that_cannot_be_started_for_a_while_is_tried_again(
    supervisor: Supervisor, sentences: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    supervisor.start(_python("worker", OBEDIENT, folder), stage=1)
    first = supervisor.pids["worker"]
    folder.rename(tmp_path / "gone")
    folder.touch()  # no folder for its log

    os.kill(first, signal.SIGKILL)
    await eventually(lambda: any("worker cannot be started" in each for each in sentences))
    folder.unlink()

    await eventually(lambda: supervisor.pids["worker"] != first)


async def test_a_child_that_ignores_its_stop_signal_is_killed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    plan = _python("stubborn", STUBBORN, tmp_path, stop_deadline_seconds=0.3)
    supervisor.start(plan, stage=1)
    pid = supervisor.pids["stubborn"]
    await eventually(lambda: "ready" in plan.log_file.read_text())

    await supervisor.stop()

    assert not is_alive(pid)


async def test_doors_stop_before_what_they_lead_to(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    for name, stage in (("server", 0), ("door", 2), ("worker", 1)):
        script = f"""
import signal, sys
def stop(*_):
    open({str(order)!r}, "a").write("{name} ")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True: signal.pause()
"""
        plan = _python(name, script, tmp_path)
        supervisor.start(plan, stage=stage)
        await eventually(lambda file=plan.log_file: "ready" in file.read_text())

    await supervisor.stop()

    assert order.read_text().split() == ["door", "worker", "server"]


async def test_a_child_that_cannot_start_ends_the_wait_with_its_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(_python("broken", "raise SystemExit('no such setting')", tmp_path), stage=1)

    with pytest.raises(ServerFailedError, match="no such setting"):
        await supervisor.ready("broken", lambda: False, 30)


def test_nothing_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    with session_folder() as folder, (tmp_path / "log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert parent.stdout is not None and parent.stdin is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2 and all(is_alive(pid) for pid in children), (
            tmp_path / "log"
        ).read_text()
        servers = children + [each for pid in children for each in family_of(pid)]

        parent.kill()
        parent.wait()

        eventually_sync(lambda: not any(is_alive(pid) for pid in servers), 15)
        parent.stdin.close()
        parent.stdout.close()


@pytest.mark.timeout(300)
async def test_the_servers_come_back_with_their_data_after_a_kill(
    supervisor: Supervisor, sentences: list[str]
) -> None:
    with session_folder() as folder:
        plan, conninfo = postgres_plan(folder / "postgres", SESSION_PARAMETERS)
        broker_plan, bootstrap = kafka_plan(folder / "kafka", kafka_jars())
        supervisor.start(plan, stage=0)
        supervisor.start(broker_plan, stage=0)
        await supervisor.ready("postgres", lambda: postgres_accepts(conninfo), 120)
        await supervisor.ready("kafka", lambda: kafka_answers(bootstrap), 120)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")

        for pid in supervisor.pids.values():
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: len(sentences) >= 2)
        await supervisor.ready("postgres", lambda: postgres_accepts(conninfo), 120)
        await supervisor.ready("kafka", lambda: kafka_answers(bootstrap), 120)

        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
        await supervisor.stop()


def test_a_child_started_outside_the_main_thread_is_refused(tmp_path: Path) -> None:
    async def start_in_a_thread() -> None:
        await asyncio.to_thread(Process, _python("early", OBEDIENT, tmp_path))

    with pytest.raises(AssertionError, match="main thread"):
        asyncio.run(start_in_a_thread())


def _python(
    name: str, script: str, folder: Path, *, stop_deadline_seconds: float = 5.0
) -> ProcessPlan:
    return ProcessPlan(
        name=name,
        command=(sys.executable, "-c", script),
        log_file=folder / f"{name}.log",
        stop_deadline_seconds=stop_deadline_seconds,
    )
