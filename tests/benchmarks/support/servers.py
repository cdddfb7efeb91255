"""The one Kafka and the one Postgres that all figures of a run are taken on.

They are the embedded ones with the settings that `upshot run` gives them, fsync included, unless
the environment names others.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from services.stack.embedded_kafka import kafka_plan, wait_for_kafka
from services.stack.embedded_postgres import postgres_plan, wait_for_postgres
from services.stack.jars import kafka_jars
from services.stack.process import Process

KAFKA = "UPSHOT_KAFKA"
POSTGRES = "UPSHOT_POSTGRES"


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers of this run are.

    Attributes:
        kafka: bootstrap servers, ``host:port``.
        postgres: a libpq conninfo or URL.
        scratch: a folder of this run, removed after it.
    """

    kafka: str
    postgres: str
    scratch: Path


@contextmanager
def opened() -> Generator[Stack]:
    """Start Kafka and Postgres, or use those that the environment names, for the block."""
    with ExitStack() as held:
        scratch = held.enter_context(_scratch())
        kafka = os.environ.get(KAFKA) or held.enter_context(_kafka(scratch / "kafka"))
        postgres = os.environ.get(POSTGRES) or held.enter_context(_postgres(scratch / "postgres"))
        yield Stack(kafka=kafka, postgres=postgres, scratch=scratch)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _scratch() -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="upshot-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _kafka(folder: Path) -> Generator[str]:
    plan, bootstrap = kafka_plan(folder, kafka_jars())
    process = Process(plan)
    try:
        wait_for_kafka(process, bootstrap)
        yield bootstrap
    finally:
        process.stop()


@contextmanager
def _postgres(folder: Path) -> Generator[str]:
    plan, conninfo = postgres_plan(folder)
    process = Process(plan)
    try:
        wait_for_postgres(process, conninfo)
        yield conninfo
    finally:
        process.stop()
