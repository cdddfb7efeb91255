"""What every test may ask for: real servers, started on first use, and names of its own in them."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Generator

import pytest
from psycopg.conninfo import conninfo_to_dict

from services.runtime.postgres import migrate_control
from tests.support.servers import fresh_database, running_kafka, running_postgres


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start.

    A shell that runs us in its background has interrupts ignored, and so would every child.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka() -> Generator[str]:
    """Give the bootstrap address of the session's broker."""
    with running_kafka() as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    """Give the conninfo of the session's maintenance database; tests use `database`."""
    with running_postgres() as conninfo:
        yield conninfo


@pytest.fixture(scope="session")
def template_database(postgres: str) -> Generator[str]:
    """Give the name of a database with the control schema, to make others from."""
    with fresh_database(postgres) as conninfo:
        asyncio.run(migrate_control(conninfo))
        yield str(conninfo_to_dict(conninfo)["dbname"])


@pytest.fixture
def database(postgres: str, template_database: str) -> Generator[str]:
    """Give the conninfo of a database with the control schema, which no other test sees."""
    with fresh_database(postgres, template=template_database) as conninfo:
        yield conninfo


@pytest.fixture
def topic_prefix() -> str:
    """Give a prefix for topics and groups that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}-"
