"""Every setting of every process, read once from the environment.

A value that makes no sense is refused at start, all faults at once. Secrets are `SecretStr`: they
print as stars, and only the code that uses one asks for its value.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network

DEFAULT_RETRY_SCHEDULE_SECONDS = (0, 5, 300, 1800, 7200, 18000, 36000, 36000)
RETRY_STEPS_MAX = 32  # attempts; a longer schedule outlives every endpoint's owner


class Settings(BaseSettings):
    """What the environment says (prefix ``UPSHOT_``).

    Attributes:
        data_dir: folder of the embedded servers, secrets and logs of children.
        host: address that the front door listens on.
        port: the front door's port (gateway).
        api_port: loopback port of the api process, behind the front door.
        health_port: port of /healthz, /readyz and /metrics of a process without another; 0 is off.
        kafka: bootstrap servers, comma-separated; empty means embedded.
        postgres: libpq conninfo or URL; empty means embedded.
        topic_prefix: stands before each real topic and group name; positions never show it.
        partitions: of every partitioned topic; fixed at first start and checked after.
        admin_key: empty means generated at first start and kept in the data folder.
        workspace: the admin key's workspace.
        master_key: wraps customer keys; empty means generated into the data folder.
        mode: ``production`` refuses generated secrets and embedded servers.
        webhook_allow: networks that webhooks may reach besides public ones.
        webhook_retry_schedule: seconds before each attempt, counted from the one before it.
        staleness_max: seconds that a processor which commands wait for may be behind before batches
            of events are answered 429.
        log_level: threshold of the logs.
        log_format: ``json`` for machines, ``console`` for people.
    """

    model_config = SettingsConfigDict(
        env_prefix="UPSHOT_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    data_dir: Path = Path(".upshot")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    api_port: int = Field(default=8081, ge=0, le=65535)
    health_port: int = Field(default=0, ge=0, le=65535)
    kafka: str = ""
    postgres: str = ""
    topic_prefix: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]{0,100}$")
    partitions: int = Field(default=12, ge=1, le=1024)
    admin_key: SecretStr = SecretStr("")
    workspace: str = Field(default="demo", pattern=r"^[a-z0-9][a-z0-9_./-]{0,99}$")
    master_key: SecretStr = SecretStr("")
    mode: Literal["development", "production"] = "development"
    webhook_allow: Annotated[tuple[Network, ...], NoDecode] = ()
    webhook_retry_schedule: Annotated[tuple[int, ...], NoDecode] = DEFAULT_RETRY_SCHEDULE_SECONDS
    staleness_max: int = Field(default=30, ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return tuple(ip_network(part.strip()) for part in given.split(",") if part.strip())

    @field_validator("webhook_retry_schedule", mode="before")
    @classmethod
    def _schedule(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return tuple(int(part) for part in given.split(",") if part.strip())

    @field_validator("webhook_retry_schedule")
    @classmethod
    def _schedule_is_bounded(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(steps) <= RETRY_STEPS_MAX or min(steps) < 0:
            msg = f"between 1 and {RETRY_STEPS_MAX} waits of at least 0 seconds"
            raise ValueError(msg)
        return steps

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process these settings, secrets included."""
        return {
            f"{self.model_config.get('env_prefix', '')}{name.upper()}": _as_text(
                getattr(self, name)
            )
            for name in type(self).model_fields
        }


def _as_text(value: SecretStr | tuple[object, ...] | Path | str | float) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(str(part) for part in value)
        case _:
            return str(value)


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        pydantic.ValidationError: names every setting that cannot be used, never its value.
    """
    return Settings()
