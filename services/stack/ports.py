"""Free loopback ports, remembered in a data folder so that a restart finds its clients again."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def remembered_ports(file: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Return a port for each name: the one of the last start while it is free, else a new one."""
    known = msgspec.json.decode(file.read_bytes(), type=dict[str, int]) if file.exists() else {}
    ports: dict[str, int] = {}
    for name in names:
        port = known.get(name, 0)
        while port == 0 or port in ports.values() or not is_free(port):
            port = free_port()
        ports[name] = port
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(ports))
    return ports
