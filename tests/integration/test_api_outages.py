"""What the api answers while Postgres is away, and afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from services.runtime.postgres import POOL_WAIT_SECONDS
from tests.integration.api_process import RunningApi, running_api
from tests.support.eventually import eventually


@pytest.fixture
async def api(kafka: str, database: str, topic_prefix: str) -> AsyncGenerator[RunningApi]:
    async with running_api(kafka, database, topic_prefix) as running:
        yield running


def _allow_connections(maintenance: str, database: str, *, allow: bool) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    with psycopg.connect(maintenance, autocommit=True) as connection:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Literal(allow)))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )


async def test_requests_are_refused_with_retry_after_until_postgres_is_back(
    api: RunningApi, postgres: str, database: str
) -> None:
    path = "/v1/definitions/event_type"
    assert (await api.admin.get(path)).status == 200
    _allow_connections(postgres, database, allow=False)

    await eventually(lambda: api.api.pool.timeout < POOL_WAIT_SECONDS)
    async with asyncio.timeout(POOL_WAIT_SECONDS / 2):
        away = await api.admin.get(path)
        unknown_key = await api.admin.with_key("upshot_never_seen").get(path)
    alive = await api.admin.get("/healthz")
    ready = await api.admin.get("/readyz")
    _allow_connections(postgres, database, allow=True)

    async def is_back() -> bool:
        return (await api.admin.get(path)).status == 200

    await eventually(is_back, 30)
    assert (away.status, away.headers["retry-after"]) == (503, "1")
    assert unknown_key.status == 503
    assert (alive.status, ready.status) == (200, 503)
    assert "Postgres does not answer." in ready.json()["reasons"]
