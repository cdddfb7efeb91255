"""Rows are the same by whichever statement they went in, and what fails together leaves nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import psycopg
import pytest

from projections.kernel import binary
from projections.kernel.tables import Table
from services.runtime.postgres import Session, connect, in_one_trip

COLUMNS = "key uuid, small smallint, whole integer, large bigint, at timestamptz, told boolean"
KINDS = Table("kinds", f"{COLUMNS}, text text, document jsonb, raw bytea")
DDL = f"CREATE TEMPORARY TABLE kinds ({COLUMNS}, text text, document jsonb, raw bytea)"
NAMED = Table("named", "name text")
DDL_NAMED = "CREATE TEMPORARY TABLE named (name text CONSTRAINT names_differ PRIMARY KEY)"
AT = datetime(2026, 11, 21, 9, tzinfo=UTC)


def spelled(number: int, text: str) -> bytes:
    columns = (
        binary.uuid(number.to_bytes(16)),
        b"\0\0\0\2" + number.to_bytes(2),
        b"\0\0\0\4" + number.to_bytes(4),
        b"\0\0\0\10" + number.to_bytes(8),
        binary.instant(AT),
        b"\0\0\0\1\1",
        binary.text(text),
        binary.jsonb(b'{"number": %d}' % number),
        binary.raw(bytes([number, 0, 255])),
    )
    return b"\0\11" + b"".join(columns)


NOTHING_TOLD = b"\0\11" + binary.NULL * 9
ROWS = [spelled(1, ""), NOTHING_TOLD, spelled(2, '{"tab\t",NULL,\\N}')]


def named(*names: str) -> list[bytes]:
    return [b"\0\1" + binary.text(name) for name in names]


@asynccontextmanager
async def session_with(conninfo: str, ddl: str) -> AsyncGenerator[Session]:
    session = await connect(conninfo)
    try:
        await session.execute(ddl.encode())
        yield session
    finally:
        await session.close()


async def kept(session: Session, table: str) -> list[str]:
    cursor = await session.execute(f"SELECT t::text FROM {table} t".encode())
    return [row[0] for row in await cursor.fetchall()]


async def names_sent(
    session: Session, *names: str, fetches: bool = False, error: Exception | None = None
) -> None:
    async with in_one_trip(session):
        for each in names:
            await NAMED.add(session, named(each))
        if fetches:
            await kept(session, "named")
        if error is not None:
            raise error


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[1:2], []])
async def test_rows_sent_with_other_statements_are_those_that_copy_writes(
    database: str, rows: list[bytes]
) -> None:
    async with session_with(database, DDL) as copied, session_with(database, DDL) as sent:
        await KINDS.add(copied, rows)
        async with in_one_trip(sent):
            await KINDS.add(sent, rows)

        assert await kept(sent, "kinds") == await kept(copied, "kinds")
        assert len(await kept(sent, "kinds")) == len(rows)


async def test_what_is_fetched_in_between_sees_what_was_sent_before(database: str) -> None:
    async with session_with(database, DDL_NAMED) as session:
        async with in_one_trip(session):
            await NAMED.add(session, named("first", "second"))
            found = await kept(session, "named")
            await NAMED.add(session, named("third"))

        assert found == ["(first)", "(second)"]
        assert await kept(session, "named") == ["(first)", "(second)", "(third)"]


@pytest.mark.parametrize("fetches", [False, True])
async def test_after_a_refused_row_nothing_stands_and_the_session_goes_on(
    database: str, *, fetches: bool
) -> None:
    async with session_with(database, DDL_NAMED) as session:
        with pytest.raises(psycopg.errors.UniqueViolation):
            await names_sent(session, "same", "same", "other", fetches=fetches)

        assert await kept(session, "named") == []
        await names_sent(session, "same")
        assert await kept(session, "named") == ["(same)"]


async def test_an_error_of_our_own_takes_back_what_was_sent(database: str) -> None:
    async with session_with(database, DDL_NAMED) as session:
        with pytest.raises(ValueError, match="ours"):
            await names_sent(session, "same", error=ValueError("ours"))

        assert await kept(session, "named") == []
