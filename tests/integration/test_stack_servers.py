"""The session's servers answer, and tests cannot see each other in them."""

from __future__ import annotations

import shutil
import socket

import psycopg
from psycopg.conninfo import conninfo_to_dict

from services.stack.embedded_postgres import postgres_plan, wait_for_postgres
from services.stack.process import Process
from tests.support.servers import SESSION_PARAMETERS, session_folder


def test_the_broker_listens_on_loopback(kafka: str) -> None:
    host, _, port = kafka.partition(":")

    with socket.create_connection((host, int(port)), timeout=2):
        assert host == "127.0.0.1"


def test_a_database_is_fresh_and_of_the_embedded_version(database: str) -> None:
    with psycopg.connect(database) as connection:
        version = connection.execute("SHOW server_version_num").fetchone()
        tables = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone()

    assert version is not None and int(version[0]) // 10_000 == 18
    assert tables == (0,)


def test_a_data_folder_with_a_long_path_works_too() -> None:
    with session_folder() as folder:
        plan, conninfo = postgres_plan(folder / ("deep" * 30), SESSION_PARAMETERS)
        process = Process(plan)
        try:
            wait_for_postgres(process, conninfo)
            with psycopg.connect(conninfo) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            process.stop()
            shutil.rmtree(str(conninfo_to_dict(conninfo)["host"]), ignore_errors=True)


def test_topic_prefixes_fit_a_topic_name(topic_prefix: str) -> None:
    assert 1 < len(topic_prefix) < 20
