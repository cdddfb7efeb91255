"""Keys as processes know them: cached, refreshed, expired, and known while Postgres is away."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from services.runtime.access import (
    ADMIN_KEY_ID,
    FRESH_SECONDS,
    STALE_SECONDS,
    KeyStore,
    ensure_admin_key,
)
from services.runtime.postgres import (
    RECONNECT_SECONDS,
    DatabaseUnavailableError,
    Pool,
    migrate_control,
    open_pool,
)
from tests.support.eventually import eventually

WORKSPACE = "demo"


class Times:
    """A clock and a stopwatch that a test moves."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        return datetime.now(tz=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed


@pytest.fixture
async def pool(database: str) -> AsyncGenerator[Pool]:
    await migrate_control(database)
    async with open_pool(database) as opened:
        async with opened.connection() as session:
            await ensure_admin_key(session, WORKSPACE, "first")
        yield opened


@pytest.fixture
async def times() -> Times:
    return Times()


@pytest.fixture
async def store(pool: Pool, times: Times) -> AsyncGenerator[KeyStore]:
    made = KeyStore(pool, clock=times, monotonic=times.monotonic)
    yield made
    await made.stop()


async def test_the_settings_key_is_known_and_replaced_by_another(
    store: KeyStore, pool: Pool
) -> None:
    found = await store.find("first")
    async with pool.connection() as session:
        await ensure_admin_key(session, "other", "second")
    store.forget()

    assert found is not None and found.key_id == ADMIN_KEY_ID and found.workspace == WORKSPACE
    assert await store.find("first") is None
    replaced = await store.find("second")
    assert replaced is not None and replaced.workspace == "other"


async def test_a_revoked_key_is_let_go_beside_the_requests(
    store: KeyStore, pool: Pool, times: Times
) -> None:
    await store.find("first")
    async with pool.connection() as session:
        await session.execute("UPDATE upshot.api_keys SET revoked_at = now()")
    times.elapsed = FRESH_SECONDS + 1

    async def is_refused() -> bool:
        return await store.find("first") is None

    await eventually(is_refused)


async def test_a_known_key_gets_in_while_postgres_is_away_but_not_for_ever(
    store: KeyStore, pool: Pool, times: Times
) -> None:
    await store.find("first")
    await pool.close()

    times.elapsed = STALE_SECONDS - 1
    known = await store.find("first")
    times.elapsed = STALE_SECONDS + 1

    assert known is not None
    with pytest.raises(DatabaseUnavailableError):
        await store.find("first")
    with pytest.raises(DatabaseUnavailableError):
        await store.find("never seen")


async def test_a_key_ends_at_its_time_even_when_cached(
    store: KeyStore, pool: Pool, times: Times
) -> None:
    async with pool.connection() as session:
        await session.execute("UPDATE upshot.api_keys SET expires_at = now() + interval '3 s'")

    before = await store.find("first")
    times.elapsed = 4

    assert before is not None
    assert await store.find("first") is None


async def test_a_token_longer_than_any_key_is_not_looked_up(store: KeyStore) -> None:
    assert await store.find("x" * 10_000) is None


async def test_a_pool_tries_again_within_seconds_however_long_postgres_was_away(
    pool: Pool,
) -> None:
    assert pool.reconnect_timeout == RECONNECT_SECONDS
