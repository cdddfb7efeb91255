"""Children get everything by their environment, and only the front door listens outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.runtime.settings import Settings
from services.stack.data_folder import DataFolder
from services.stack.processes import PORT_NAMES, OwnProcess, front_door_url, own_processes
from services.stack.supervisor import how_it_ended

PORTS = {name: 20_000 + index for index, name in enumerate(PORT_NAMES)}


@pytest.fixture
def processes(tmp_path: Path) -> dict[str, OwnProcess]:
    settings = Settings(
        host="0.0.0.0",  # noqa: S104 - what a container would set
        port=9090,
        kafka="127.0.0.1:9092",
        postgres="dbname=upshot",
        admin_key=SecretStr("k"),
    )
    listed = own_processes(settings, DataFolder(tmp_path), PORTS)
    return {process.plan.name: process for process in listed}


def test_every_process_knows_servers_and_secrets(processes: dict[str, OwnProcess]) -> None:
    for process in processes.values():
        environment = process.plan.environment
        assert environment["UPSHOT_KAFKA"] == "127.0.0.1:9092"
        assert environment["UPSHOT_POSTGRES"] == "dbname=upshot"
        assert environment["UPSHOT_ADMIN_KEY"] == "k"
        assert environment["UPSHOT_API_PORT"] == str(PORTS["api"])


def test_no_secret_stands_in_a_command_line(processes: dict[str, OwnProcess]) -> None:
    assert [process for process in processes.values() if "k" in process.plan.command] == []


def test_only_the_front_door_listens_outside(processes: dict[str, OwnProcess]) -> None:
    hosts = {name: each.plan.environment["UPSHOT_HOST"] for name, each in processes.items()}

    assert {name for name, host in hosts.items() if host != "127.0.0.1"} == {"gateway"}


def test_each_says_that_it_is_ready_on_a_port_of_its_own(
    processes: dict[str, OwnProcess],
) -> None:
    urls = [process.url for process in processes.values()]

    assert len(set(urls)) == len(urls)
    assert processes["gateway"].url == "http://127.0.0.1:9090"


def test_doors_have_higher_stages_than_what_they_lead_to(
    processes: dict[str, OwnProcess],
) -> None:
    assert processes["loyalty"].stage < processes["api"].stage < processes["gateway"].stage


def test_an_address_of_version_six_is_written_in_brackets() -> None:
    assert front_door_url(Settings(host="::1", port=8080)) == "http://[::1]:8080"


@pytest.mark.parametrize(
    ("status", "said"),
    [(0, "ended with status 0"), (-9, "was ended by SIGKILL"), (None, "is running")],
)
def test_an_exit_status_is_said_in_words(status: int | None, said: str) -> None:
    assert how_it_ended(status) == said
