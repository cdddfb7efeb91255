"""Upshot's own processes: what runs, in which stage, and where each says that it is ready."""

from __future__ import annotations

import sys

import msgspec

from services.runtime.settings import Settings
from services.stack.data_folder import DataFolder
from services.stack.ports import LOOPBACK
from services.stack.process import ProcessPlan

SERVERS, PROCESSORS, API, FRONT_DOOR = range(4)
"""Stages, in the order of starting; stopping goes the other way."""

BACKGROUND = {
    "customers": "projections.customers",
    "loyalty": "projections.loyalty",
    "dispatcher": "services.dispatcher",
}
"""Name and module of what works behind the doors."""

PORT_NAMES = ("api", "receiver", *BACKGROUND)


class OwnProcess(msgspec.Struct, frozen=True, kw_only=True):
    """One process of Upshot's.

    Attributes:
        plan: how it is run.
        stage: when it starts and stops.
        url: where it serves /readyz.
    """

    plan: ProcessPlan
    stage: int
    url: str


def own_processes(
    settings: Settings, folder: DataFolder, ports: dict[str, int]
) -> list[OwnProcess]:
    """Return every process, in the order of starting.

    Args:
        settings: with servers and secrets filled in; each child gets them by its environment.
        folder: gets the logs.
        ports: one for each of ``PORT_NAMES``.
    """
    settings = settings.model_copy(update={"api_port": ports["api"]})
    background = [
        _process(name, module, PROCESSORS, settings, folder, health_port=ports[name])
        for name, module in BACKGROUND.items()
    ]
    api = _process("api", "services.api", API, settings, folder, port=ports["api"])
    gateway = _process(
        "gateway", "services.gateway", FRONT_DOOR, settings, folder, port=settings.port
    )
    return [*background, api, gateway]


def front_door_url(settings: Settings) -> str:
    """Return where a program on this machine reaches the gateway."""
    return f"http://{_reachable(settings.host)}:{settings.port}"


def _process(
    name: str,
    module: str,
    stage: int,
    settings: Settings,
    folder: DataFolder,
    *,
    health_port: int = 0,
    port: int = 0,
) -> OwnProcess:
    host = settings.host if stage == FRONT_DOOR else LOOPBACK
    environment = settings.environment() | {
        "UPSHOT_HEALTH_PORT": str(health_port),
        "UPSHOT_HOST": host,
    }
    plan = ProcessPlan(
        name=name,
        command=(sys.executable, "-m", module),
        environment=environment,
        log_file=folder.log_file(name),
    )
    return OwnProcess(
        plan=plan, stage=stage, url=f"http://{_reachable(host)}:{health_port or port}"
    )


def _reachable(host: str) -> str:
    """Return an address to call where one listens: every address includes loopback."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        return LOOPBACK
    return f"[{host}]" if ":" in host else host
