"""One real Kafka and one real PostgreSQL for a whole test session.

Tests isolate themselves by name: a topic prefix, a database of their own.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from services.stack.embedded_kafka import kafka_plan, wait_for_kafka
from services.stack.embedded_postgres import postgres_plan, wait_for_postgres
from services.stack.jars import kafka_jars
from services.stack.process import Process

SESSION_PARAMETERS = {
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "max_connections": "300",
    "fsync": "off",  # a killed server loses nothing by it, only a machine without power does
}


@contextmanager
def session_folder() -> Generator[Path]:
    """Give a folder that is gone afterwards, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="upshot-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_kafka() -> Generator[str]:
    """Run a broker; gives its bootstrap address."""
    with session_folder() as folder:
        plan, bootstrap = kafka_plan(folder / "kafka", kafka_jars())
        process = Process(plan)
        try:
            wait_for_kafka(process, bootstrap)
            yield bootstrap
        finally:
            process.kill()


@contextmanager
def running_postgres() -> Generator[str]:
    """Run a server; gives the conninfo of its maintenance database."""
    with session_folder() as folder:
        plan, conninfo = postgres_plan(folder / "postgres", SESSION_PARAMETERS)
        process = Process(plan)
        try:
            wait_for_postgres(process, conninfo)
            yield conninfo
        finally:
            process.stop()


@contextmanager
def fresh_database(maintenance: str, *, template: str = "template1") -> Generator[str]:
    """Make a database from a template; gives its conninfo, and drops it afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield make_conninfo(maintenance, dbname=name)
    finally:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(drop)
