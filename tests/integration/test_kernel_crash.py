"""A processor that meets what it cannot go on from: not ready at once, and soon gone."""

from __future__ import annotations

import http.client
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from projections.kernel.worker import CRASH_SECONDS
from services.runtime.settings import Settings
from services.stack.ports import LOOPBACK, free_port
from tests.support.eventually import eventually_sync

pytestmark = pytest.mark.timeout(180)

START_SECONDS = 60.0
EXIT_SECONDS = CRASH_SECONDS + 10.0  # noticing it takes a look at the generations; a busy machine


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def test_a_processor_that_crashes_is_gone_within_seconds(
    kafka: str, topic_prefix: str, database: str, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        kafka=kafka,
        postgres=database,
        topic_prefix=topic_prefix,
        partitions=3,
        health_port=free_port(),
        master_key=SecretStr("6d" * 32),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "projections.loyalty"], env=settings.environment()
    )
    try:
        eventually_sync(lambda: is_ready(settings.health_port), START_SECONDS)
        with psycopg.connect(database) as session:
            session.execute("ALTER TABLE upshot.generations RENAME TO gone")

        eventually_sync(lambda: not is_ready(settings.health_port))
        assert process.wait(EXIT_SECONDS) != 0
    finally:
        process.kill()
        process.wait()
