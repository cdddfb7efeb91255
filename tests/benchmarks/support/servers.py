"""The one Kafka and the one Postgres that all figures of a run are taken on."""

import os
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

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
    scratch = Path(tempfile.mkdtemp(prefix="upshot-benchmarks-"))
    try:
        yield Stack(kafka=os.environ[KAFKA], postgres=os.environ.get(POSTGRES, ""), scratch=scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
