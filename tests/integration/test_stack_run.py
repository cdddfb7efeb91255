"""`upshot run`, as its user meets it: one command up, what an event causes, one key down."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from services.stack.ports import LOOPBACK, free_port
from tests.support.eventually import eventually_sync
from tests.support.factories import review
from tests.support.servers import session_folder
from tests.support.upshot import (
    Upshot,
    family_of,
    is_alive,
    running_upshot,
    start_upshot,
)

CONSEQUENCE_SECONDS = 10.0  # a second on a machine that does nothing else
CHILDREN = {"postgres", "kafka", "customers", "loyalty", "dispatcher", "api", "gateway"}


@pytest.fixture(scope="module")
def data_dir() -> Generator[Path]:
    with session_folder() as folder:
        yield folder / "data"


@pytest.mark.timeout(600)
def test_one_command_starts_all_and_shows_what_an_event_causes(data_dir: Path) -> None:
    with running_upshot(data_dir) as upshot:
        _the_pasted_curl_works_and_its_consequences_are_shown(upshot)
        _a_second_start_is_told_who_runs(upshot)
        _a_killed_child_is_restarted_and_reported(upshot)
        everything = [upshot.process.pid, *family_of(upshot.process.pid)]
        assert upshot.stop() == 0

    assert [pid for pid in everything if is_alive(pid)] == []
    _a_second_start_finds_all_data_again(data_dir)
    _nothing_outlives_a_kill_of_the_parent(data_dir)


@pytest.mark.timeout(300)
def test_existing_servers_are_used_instead(
    kafka: str, database: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = {
        "UPSHOT_KAFKA": kafka,
        "UPSHOT_POSTGRES": database,
        "UPSHOT_TOPIC_PREFIX": topic_prefix,
        "UPSHOT_PARTITIONS": "2",
    }

    with running_upshot(tmp_path / "data", settings) as upshot:
        assert set(upshot.child_pids()) == CHILDREN - {"kafka", "postgres"}
        accepted = upshot.request("POST", "/v1/events", review().encoded())

    assert accepted.status == 200
    assert b'"position":"customer.events/' in accepted.body


def test_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    port = free_port()

    with socket.create_server((LOOPBACK, port)):
        upshot = start_upshot(tmp_path / "data", {"UPSHOT_PORT": str(port)})
        assert upshot.stop_by_itself() == 1

    assert f"Port {port} is taken; choose another by UPSHOT_PORT." in upshot.output


def test_an_absent_server_is_a_sentence(tmp_path: Path) -> None:
    away = f"{LOOPBACK}:{free_port()}"
    settings = {"UPSHOT_KAFKA": away, "UPSHOT_POSTGRES": f"postgresql://{away}/upshot"}

    upshot = start_upshot(tmp_path / "data", settings)

    assert upshot.stop_by_itself() == 1
    assert "Kafka does not answer" in upshot.output
    assert "name another by UPSHOT_KAFKA" in upshot.output
    assert "Traceback" not in upshot.output


def test_production_names_what_it_needs(tmp_path: Path) -> None:
    upshot = start_upshot(tmp_path / "data", {"UPSHOT_MODE": "production"})

    assert upshot.stop_by_itself() == 1
    for name in ("UPSHOT_MASTER_KEY", "UPSHOT_ADMIN_KEY", "UPSHOT_KAFKA", "UPSHOT_POSTGRES"):
        assert name in upshot.output


def test_a_setting_that_makes_no_sense_is_a_sentence(tmp_path: Path) -> None:
    upshot = start_upshot(tmp_path / "data", {"UPSHOT_PARTITIONS": "many"})

    assert upshot.stop_by_itself() != 0
    assert "partitions" in upshot.output.lower()
    assert "Traceback" not in upshot.output


def _the_pasted_curl_works_and_its_consequences_are_shown(upshot: Upshot) -> None:
    assert set(upshot.child_pids()) == CHILDREN
    assert upshot.admin_key in upshot.output

    pasted = subprocess.run(
        ["sh", "-c", _curl_of(upshot)], capture_output=True, text=True, timeout=30, check=True
    )

    assert '"object":"event"' in pasted.stdout.replace(" ", "")
    for consequence in ("timeline", "points", "webhook"):
        eventually_sync(
            lambda seen=consequence: any(line.startswith(f"  {seen}") for line in upshot.lines),
            CONSEQUENCE_SECONDS,
        )


def _a_second_start_is_told_who_runs(upshot: Upshot) -> None:
    second = start_upshot(upshot.data_dir)

    assert second.stop_by_itself() == 1
    assert f"process {upshot.process.pid}" in second.output
    assert upshot.url in second.output


def _a_killed_child_is_restarted_and_reported(upshot: Upshot) -> None:
    first = upshot.child_pids()["loyalty"]

    os.kill(first, signal.SIGKILL)

    eventually_sync(lambda: "loyalty was ended by SIGKILL" in upshot.output)
    eventually_sync(lambda: upshot.child_pids().get("loyalty", first) != first)


def _a_second_start_finds_all_data_again(data_dir: Path) -> None:
    with running_upshot(data_dir) as upshot:
        assert upshot.request("GET", "/v1/customers/alex").status == 200
        assert upshot.admin_key not in upshot.output


def _nothing_outlives_a_kill_of_the_parent(data_dir: Path) -> None:
    upshot = start_upshot(data_dir)
    upshot.wait_until_running()
    everything = family_of(upshot.process.pid)

    upshot.process.kill()
    upshot.process.wait()

    eventually_sync(lambda: not any(is_alive(pid) for pid in everything), 30)


def _curl_of(upshot: Upshot) -> str:
    lines = upshot.lines
    start = next(index for index, line in enumerate(lines) if line.startswith("  curl "))
    end = next(index for index in range(start, len(lines)) if lines[index].endswith("}'"))
    return "\n".join(lines[start : end + 1])
