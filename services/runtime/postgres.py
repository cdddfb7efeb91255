"""Postgres, typed: sessions with limits, the pool, and migrations.

Guarantee: every session of ours carries the same time limits, so that a frozen client's locks go
away by themselves; a migration runs once, in order, under an advisory lock, and an edited one is
refused.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import PipelineStatus
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Session = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Session]

STATEMENT_TIMEOUT_MS = 60_000
"""One statement; the largest batch of 20,000 records needs well under a second."""
WHOLE_TABLE_TIMEOUT_MS = 3_600_000
"""One statement over a whole table, where an operator asked for it."""
IDLE_IN_TRANSACTION_MS = 5_000
"""A process frozen in mid-transaction loses its locks after this long."""
CONNECTION_CHECK_MS = 1_000
"""How soon a statement of a dead client is stopped."""
CONNECT_TIMEOUT_SECONDS = 5
POOL_SIZE_MAX = 8
POOL_WAIT_SECONDS = 5.0
"""How long a request waits for a connection before it is answered 503."""
RECONNECT_SECONDS = 2.0
"""A pool's tries to open a session double their distance up to this long; then a request's need
starts them anew. By default an outage of minutes would go on for minutes after its end."""
CONTROL_SCHEMA = "upshot"
PROGRAM_LIMIT = "54"
"""Class of SQLSTATE for what exceeds a limit of Postgres (a key too long for its index, say)."""
MIGRATION_LOCK = 0x7570_7368
"""Advisory lock of migrations ("upsh"): one process migrates at a time."""

MIGRATIONS_DIR = Path(__file__).parent / "migrations"

_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
    f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
    f" -c client_connection_check_interval={CONNECTION_CHECK_MS}"
    " -c timezone=UTC"
)


class DatabaseUnavailableError(Exception):
    """Postgres did not answer, or gave up for want of time or resources: try again."""


class InvalidRowError(Exception):
    """Postgres refused a row for what stands in it: trying again will not help."""


class MigrationChangedError(Exception):
    """A migration that already ran was edited; write a new one instead."""


class ConninfoError(SystemExit):
    """Ends the process with a sentence that names the setting; the value is not shown."""

    def __init__(self) -> None:
        super().__init__(
            "UPSHOT_POSTGRES is neither a libpq conninfo (host=… dbname=…) nor a postgresql:// URL."
        )


def check_conninfo(conninfo: str) -> None:
    """Raise ``ConninfoError`` where the text is none."""
    try:
        conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        raise ConninfoError from None  # the error repeats the text, a password in it


@contextmanager
def translated() -> Generator[None]:
    """Turn psycopg's errors into the two decisions: again, or never.

    What is neither (a programming error) goes through as it is and stops the process.
    """
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise InvalidRowError(_reason(error)) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
        if (error.sqlstate or "").startswith(PROGRAM_LIMIT):
            raise InvalidRowError(_reason(error)) from error
        raise DatabaseUnavailableError(_reason(error)) from error


def _reason(error: psycopg.Error) -> str:
    """Say what went wrong without the row's values, which are personal data."""
    primary = error.diag.message_primary
    return f"{type(error).__name__}: {primary or str(error).splitlines()[0] if str(error) else ''}"


async def connect(conninfo: str, *, schema: str = CONTROL_SCHEMA) -> Session:
    """Open an autocommit session of our own, unqualified names resolving in ``schema``.

    Raises:
        DatabaseUnavailableError: Postgres did not answer.
        ConninfoError: ``conninfo`` is none.
    """
    check_conninfo(conninfo)
    with translated():
        session = await AsyncConnection.connect(
            conninfo,
            autocommit=True,
            options=f"{_OPTIONS} -c search_path={schema}",
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
    session.prepare_threshold = 2
    return session


@asynccontextmanager
async def in_one_trip(session: Session) -> AsyncGenerator[None]:
    """Run a transaction whose statements do not wait for each other's answers.

    They go out at once and one after the other; where rows are fetched, the block waits for all
    that was sent. After the first error the server passes over what follows, COMMIT too; the error
    shows at a later statement or at the end. COPY cannot be sent so.
    """
    try:
        async with session.pipeline():
            await session.execute("BEGIN")
            yield
            committed = await session.execute("COMMIT")
    except BaseException:
        if not session.closed:
            await session.rollback()
        raise
    assert committed.statusmessage == "COMMIT", "a failed transaction raises its error"


def sends_together(session: Session) -> bool:
    """Whether statements of this session go out without waiting, as ``in_one_trip`` has it."""
    return session.pgconn.pipeline_status != PipelineStatus.OFF


_LONG: LiteralString = """
SELECT set_config('statement_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', '0', false)"""


async def allow_long_statements(session: Session) -> None:
    """Let a session that walks whole tables take its time."""
    await session.execute(_LONG, (str(WHOLE_TABLE_TIMEOUT_MS),))


@asynccontextmanager
async def open_pool(
    conninfo: str, *, schema: str = CONTROL_SCHEMA, size_max: int = POOL_SIZE_MAX
) -> AsyncGenerator[Pool]:
    """Open a pool of autocommit sessions for as long as the block runs."""
    check_conninfo(conninfo)
    pool = AsyncConnectionPool(
        conninfo,
        connection_class=Session,
        kwargs={
            "autocommit": True,
            "options": f"{_OPTIONS} -c search_path={schema}",
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        },
        min_size=1,
        max_size=size_max,
        timeout=POOL_WAIT_SECONDS,
        reconnect_timeout=RECONNECT_SECONDS,
        open=False,
        check=AsyncConnectionPool.check_connection,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


_FIND_APPLIED: LiteralString = "SELECT name, digest FROM migrations"
_RECORD_APPLIED: LiteralString = "INSERT INTO migrations (name, digest) VALUES (%s, %s)"
_MIGRATIONS_TABLE: LiteralString = """
CREATE TABLE IF NOT EXISTS migrations (
    name text CONSTRAINT migrations_run_once PRIMARY KEY,
    digest text NOT NULL
)"""


async def migrate(session: Session, schema: str, *folders: Path) -> list[str]:
    """Run what of the folders' SQL files has not run in ``schema``, by file name; answer which.

    Files of several folders run folder by folder. Names in them are unqualified.

    Raises:
        MigrationChangedError: a file that ran before has other contents now.
    """
    files = await asyncio.to_thread(_files_of, folders)
    ran: list[str] = []
    async with session.transaction():
        await session.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        name = sql.Identifier(schema)
        await session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        await session.execute(sql.SQL("SET LOCAL search_path TO {}").format(name))
        await session.execute(_MIGRATIONS_TABLE)
        rows = await (await session.execute(_FIND_APPLIED)).fetchall()
        applied: dict[str, str] = {row[0]: row[1] for row in rows}
        for name, text in files.items():
            if await _run_once(session, name, text, applied):
                ran += [name]
    return ran


def _files_of(folders: Sequence[Path]) -> dict[str, bytes]:
    return {
        f"{path.parent.parent.name}/{path.name}": path.read_bytes()
        for folder in folders
        for path in sorted(folder.glob("*.sql"))
    }


async def _run_once(session: Session, name: str, text: bytes, applied: dict[str, str]) -> bool:
    digest = sha256(text).hexdigest()
    if name in applied:
        if applied[name] != digest:
            raise MigrationChangedError(name)
        return False
    await session.execute(text)
    await session.execute(_RECORD_APPLIED, (name, digest))
    return True


async def migrate_control(conninfo: str) -> list[str]:
    """Bring the control schema up to date; answer which migrations ran."""
    session = await connect(conninfo)
    try:
        with translated():
            return await migrate(session, CONTROL_SCHEMA, MIGRATIONS_DIR)
    finally:
        await session.close()
