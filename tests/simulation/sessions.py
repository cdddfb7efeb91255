"""Sessions of a real Postgres whose every round trip takes a turn, and may be struck there.

A statement runs while nobody else does, so its place among all others is the seed's choice. One
that waits for a lock in the server is put aside until whoever holds the lock has gone on. A cut
connection is a rollback and the end of the session's object: what the server does about a client
that is gone is to roll back what was open and to give its locks back. Where a statement is under
way the connection is really closed, and its backend waited for.

What is sent without waiting for answers has them before anybody's next turn: else the server would
be at it meanwhile, and when the answers come would be nobody's choice.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from unittest import mock
from zlib import crc32

import psycopg
from psycopg import AsyncConnection, pq
from psycopg._preparing import PrepareManager
from psycopg.rows import TupleRow, tuple_row

from services.runtime.postgres import DatabaseUnavailableError, Session
from tests.simulation.faults import Fault
from tests.simulation.processes import WHO, Process
from tests.simulation.turns import StuckError, Turns

RV = TypeVar("RV")

SLOW_SECONDS = 0.003
"""After this long it is asked whether a statement waits for a lock; most take a tenth of it."""
PATIENCE = 5_000
"""Looks at a statement that neither ends nor waits for a lock: 15 s, then something is wrong."""
IDLE_IN_TRANSACTION_SECONDS = 5.0
"""As the sessions of processes are limited, in simulated time."""
END_SECONDS = 5.0
NEVER_CANCELLED = ("_enter_gen", "_exit_gen")
"""Beginning and ending a transaction are over before a request to cancel them comes."""
SESSIONS_IN = "projections.kernel.partition"
"""The module that opens sessions."""
PATIENCE_IN = "projections.kernel.compare"
"""The one that lets sessions be idle in a transaction for longer."""


def _gone() -> pq.abc.PGconn:
    raw = pq.PGconn.connect_start(b"host=/nowhere")
    raw.finish()
    return raw


class Database:
    """Opens sessions, and looks from outside at what they wait for."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self.network: Process
        self.monitor = psycopg.connect(conninfo, autocommit=True)
        self._opened: list[psycopg.Connection] = []
        self._free: list[tuple[pq.abc.PGconn, PrepareManager]] = []
        self.sessions: dict[int, SimulatedSession] = {}
        self.parked: dict[int, SimulatedSession] = {}
        """Sessions whose statement waits for a lock, by backend."""

    def close(self) -> None:
        """Close every connection."""
        for opened in self._opened:
            opened.close()
        self.monitor.close()

    def open(self, process: Process, turns: Turns, schema: str) -> SimulatedSession:
        """Give a session in a schema, on a connection that may have served another before."""
        if self._free:
            raw, prepared = self._free.pop()
        else:
            opened = psycopg.connect(self._conninfo, options="-c timezone=UTC")
            self._opened.append(opened)
            raw, prepared = opened.pgconn, None
        raw.exec_(
            b"SELECT pg_advisory_unlock_all(); RESET ALL; SET search_path TO " + schema.encode()
        )
        session = SimulatedSession(raw, tuple_row)
        session.begin(self, process, turns, prepared)
        self.sessions[raw.backend_pid] = session
        return session

    def give_back(self, raw: pq.abc.PGconn, prepared: PrepareManager) -> None:
        """Take a connection that a session no longer uses, rolling back what is open."""
        pid = raw.backend_pid
        del self.sessions[pid]
        self.parked.pop(pid, None)
        idle = pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR
        if raw.pipeline_status:
            self._drain(raw, pid)
        if raw.pipeline_status or raw.transaction_status not in idle:
            raw.finish()
            self.monitor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            return
        if raw.transaction_status != pq.TransactionStatus.IDLE:
            raw.exec_(b"ROLLBACK")
        self._free.append((raw, prepared))

    def _drain(self, raw: pq.abc.PGconn, pid: int) -> None:
        """Let the server come to the end of what it was sent, or to a lock."""
        raw.pipeline_sync()
        raw.flush()
        for _ in range(PATIENCE):
            if select.select([raw.socket], [], [], SLOW_SECONDS)[0]:
                raw.consume_input()
                while not raw.is_busy():
                    result = raw.get_result()
                    if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                        return
            elif any(self._is_at_rest(each) for each in self._blockers(pid)):
                return

    def is_stuck(self, session: SimulatedSession) -> bool:
        """Whether a statement waits for somebody who must have a turn first."""
        for _ in range(PATIENCE):
            if session.has_answer():
                return False
            if any(self._is_at_rest(pid) for pid in self._blockers(session.pid)):
                return True
        raise StuckError(f"{session.name} gets no answer")

    def _is_at_rest(self, pid: int) -> bool:
        """Whether a backend that holds a lock does so until its client has a turn."""
        session = self.sessions.get(pid)
        if session is None:
            return False
        return pid not in self.parked or session.has_answer() or self.is_stuck(session)

    def _blockers(self, pid: int) -> list[int]:
        row = self.monitor.execute("SELECT pg_blocking_pids(%s)", (pid,)).fetchone()
        return [] if row is None else row[0]

    def end_idle_transactions(self, now: float) -> None:
        """End what was left open for too long, as the server does."""
        for session in list(self.sessions.values()):
            if session.is_patient or not session.is_idle_in_transaction:
                continue
            if now - session.used_at > IDLE_IN_TRANSACTION_SECONDS:
                session.turns.note(f"{session.name} idle for too long")
                session.cut()


class Connect(Protocol):
    """Opens a session for the process whose task asks."""

    async def __call__(self, conninfo: str, *, schema: str = "upshot") -> Session: ...


class SimulatedSession(AsyncConnection[TupleRow]):
    """A session of the process's own whose round trips take turns."""

    def begin(
        self, database: Database, process: Process, turns: Turns, prepared: PrepareManager | None
    ) -> None:
        """Belong to a process from now on."""
        self._autocommit = True
        self.prepare_threshold = 2
        if prepared is not None:
            self._prepared = prepared  # what the backend knows under these names
        self.database = database
        self.process = process
        self.turns = turns
        self.pid = self.pgconn.backend_pid
        self.number = process.next_session()
        self.name = f"{process.name} session {self.number}"
        self.used_at = turns.loop.now
        self.is_patient = False
        self._is_left = False
        process.cuts[self.number] = self.cut

    @property
    def is_idle_in_transaction(self) -> bool:
        """Whether the server waits for this client with something open."""
        return self.pgconn.transaction_status in (
            pq.TransactionStatus.INTRANS,
            pq.TransactionStatus.INERROR,
        )

    def has_answer(self) -> bool:
        """Whether the server has said something, within a moment."""
        return bool(select.select([self.pgconn.socket], [], [], SLOW_SECONDS)[0])

    def cut(self) -> None:
        """Lose the connection: nothing goes through this object any more."""
        if not self.closed:
            raw, self.pgconn = self.pgconn, _gone()
            del self.process.cuts[self.number]
            self.database.give_back(raw, self._prepared)

    async def close(self) -> None:
        """Give the connection back."""
        if not self._is_left:
            self.cut()

    async def wait(
        self,
        gen: Generator[Any, Any, RV],
        interval: float = 0.0,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's own signature
    ) -> RV:
        """Make one round trip, in its turn."""
        del interval, timeout
        what = f"session {self.number}"
        self._check()
        try:
            await self.turns.take(self.process, what)
        except asyncio.CancelledError:
            if not self.process.dead and not self.closed:
                self._cancel(gen)
            raise
        self._check()
        await self._strike(gen, tuple(Fault))
        return await self._trip(gen)

    async def _strike(self, gen: Generator[Any, Any, object], among: Sequence[Fault]) -> None:
        """Let a fault strike, if the seed says so: before the round trip, or as if it was made."""
        process = self.process
        fault = process.faults.strike(among)
        if fault is None:
            return
        self.turns.note(f"{self.name}: {fault.value}")
        match fault:
            case Fault.FREEZE:
                self.turns.freeze(process, process.faults.frozen_turns())
                await self.turns.take(process, f"session {self.number}")
                self._check()
                return
            case Fault.CUT_AFTER | Fault.CRASH_AFTER:
                await self._quietly(gen)
            case Fault.CUT_LATE | Fault.CRASH_LATE:
                self._leave_behind(gen)
            case Fault.CUT_BEFORE | Fault.CRASH_BEFORE:
                pass
        await self._lose(process, fault)

    def _check(self) -> None:
        if self._is_left or self.closed or self.process.dead:
            raise psycopg.OperationalError("the connection is lost")

    async def _lose(self, process: Process, fault: Fault) -> None:
        if not self._is_left:
            self.cut()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.CRASH_LATE):
            await process.crash()
        self._check()

    def _leave_behind(self, gen: Generator[Any, Any, object]) -> None:
        """Let what was sent take effect later, without anybody to hear of it."""
        self._is_left = True
        del self.process.cuts[self.number]
        name, network = self.name, self.database.network
        self.process, self.number = network, network.next_session()
        network.cuts[self.number] = self.cut

        async def go_on() -> None:
            await self.turns.take(network, f"what {name} left behind")
            if not self.closed:
                await self._quietly(gen)
            self.cut()

        network.spawn(go_on())

    async def _quietly(self, gen: Generator[Any, Any, object]) -> None:
        """Run a statement whose outcome nobody hears."""
        try:
            await self._trip(gen)
        except psycopg.Error as error:
            self.turns.note(f"{self.name}: {type(error).__name__} unheard")

    async def _trip(self, gen: Generator[Any, Any, RV]) -> RV:
        """Run a statement; while it waits for a lock, others have turns."""
        raw = self.pgconn
        self.used_at = self.turns.loop.now
        try:
            wanted = next(gen)
            while True:
                if ready := _ready(raw.socket, wanted):
                    wanted = gen.send(ready)
                elif self.database.is_stuck(self):
                    await self._park()
        except StopIteration as end:
            pipeline = self._pipeline
            if pipeline is not None and pipeline.result_queue:
                fetch = pipeline._fetch_gen  # pyright: ignore[reportPrivateUsage]
                await self._trip(fetch(flush=True))
            return end.value
        except asyncio.CancelledError:
            self.cut()
            raise

    async def _park(self) -> None:
        self.database.parked[self.pid] = self
        try:
            await self.turns.take(
                self.process,
                f"session {self.number} has its lock",
                lambda: not self.database.is_stuck(self),
            )
        finally:
            self.database.parked.pop(self.pid, None)
        if self.closed:
            raise psycopg.OperationalError("the connection is lost")

    def _cancel(self, gen: Generator[Any, Any, object]) -> None:
        """Cancel a statement that was just sent: it had its effect before, or never will."""
        raw = self.pgconn
        is_copy = raw.transaction_status == pq.TransactionStatus.ACTIVE
        if is_copy or getattr(gen, "__name__", "") in NEVER_CANCELLED or self._is_done_already():
            self._finish(gen)
        elif raw.transaction_status == pq.TransactionStatus.INTRANS:
            raw.exec_(b"SELECT the_client_cancelled_this")

    def _is_done_already(self) -> bool:
        """Toss a coin that does not depend on who was cancelled first: that is nobody's choice."""
        return crc32(f"{self.name} {self.turns.count}".encode()) % 2 == 0

    def _finish(self, gen: Generator[Any, Any, object]) -> None:
        """Run to its end a statement of a task that was cancelled, unless it waits for a lock."""
        raw = self.pgconn
        try:
            wanted = next(gen)
            while True:
                if ready := _ready(raw.socket, wanted):
                    wanted = gen.send(ready)
                elif self.database.is_stuck(self):
                    self.cut()
                    return
        except StopIteration:
            return
        except psycopg.Error as error:
            self.turns.note(f"{self.name}: {type(error).__name__} unheard")


def _ready(fd: int, wanted: int) -> int:
    readable, writable, _ = select.select(
        [fd] if wanted & 1 else [], [fd] if wanted & 2 else [], [], SLOW_SECONDS
    )
    return bool(readable) | bool(writable) << 1


@contextmanager
def simulated_sessions(database: Database, turns: Turns) -> Generator[Connect]:
    """Let every session that the kernel opens be a simulated one; gives what opens them."""

    async def connect(conninfo: str, *, schema: str = "upshot") -> SimulatedSession:
        del conninfo
        process = WHO.get()
        await turns.take(process, f"connect {schema}")
        fault = process.faults.strike((Fault.CUT_BEFORE, Fault.CRASH_BEFORE, Fault.FREEZE))
        if process.dead or fault is Fault.CUT_BEFORE:
            raise DatabaseUnavailableError("no server answers")
        if fault is Fault.CRASH_BEFORE:
            await process.crash()
        if fault is Fault.FREEZE:
            turns.freeze(process, process.faults.frozen_turns())
        return database.open(process, turns, schema)

    async def allow_long_statements(session: SimulatedSession) -> None:
        session.is_patient = True

    patches = [
        mock.patch(f"{SESSIONS_IN}.connect", connect),
        mock.patch(f"{PATIENCE_IN}.allow_long_statements", allow_long_statements),
    ]
    for patch in patches:
        patch.start()
    try:
        yield connect
    finally:
        for patch in patches:
            patch.stop()
