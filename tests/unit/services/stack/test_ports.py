"""Ports are remembered while they are free, and never given twice."""

from __future__ import annotations

import socket
from pathlib import Path

from services.stack.ports import LOOPBACK, is_free, remembered_ports


def test_a_restart_gets_the_ports_of_the_last_start(tmp_path: Path) -> None:
    first = remembered_ports(tmp_path / "ports.json", ("broker", "controller"))

    assert remembered_ports(tmp_path / "ports.json", ("broker", "controller")) == first
    assert first["broker"] != first["controller"]


def test_a_port_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    first = remembered_ports(tmp_path / "ports.json", ("broker",))

    with socket.create_server((LOOPBACK, first["broker"])):
        second = remembered_ports(tmp_path / "ports.json", ("broker",))

        assert not is_free(first["broker"])

    assert second["broker"] != first["broker"]
