"""The options that every command takes, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from services.operations.client import Client
from services.operations.errors import CommandError

if TYPE_CHECKING:
    from services.runtime.settings import Settings

KEY_FILE: Final = "admin-key.secret"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="UPSHOT_URL",
        metavar="URL",
        help="Address of the front door; by default what UPSHOT_HOST and UPSHOT_PORT say.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="UPSHOT_ADMIN_KEY",
        metavar="KEY",
        help="API key; by default the admin key in the data folder (UPSHOT_DATA_DIR).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, and nothing else, to stdout.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many; else all.")]
Generation = Annotated[
    int | None,
    typer.Option("--generation", min=1, help="By default the newest beside the live one."),
]
EmitDifference = Annotated[
    bool,
    typer.Option("--emit-difference", help="Put out what corrects outputs that told otherwise."),
]
Projection = Annotated[str, typer.Argument(metavar="NAME", help="Name of the projection.")]


def open_client(url: str | None, key: str | None) -> Client:
    """Make a client from what was given, the settings and the data folder.

    Raises:
        CommandError: no key is known, or a setting cannot be used.
        typer.BadParameter: the URL is none.
    """
    given = url or _default_url()
    if not _is_address(given):
        raise typer.BadParameter(f"{given} is not an http or https URL", param_hint="--url")
    used = (key or _default_key()).strip()
    if not used.isascii() or not used.isprintable():
        raise typer.BadParameter("it has characters that no key has", param_hint="--key")
    return Client(given, used)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_http = parts.scheme in {"http", "https"} and bool(parts.hostname)
    return is_http and has_port and not parts.query and not parts.fragment


def load_settings() -> Settings:
    """Read the environment's settings; raises ``CommandError`` naming those that make no sense."""
    from pydantic import ValidationError  # noqa: PLC0415 - as below

    from services.runtime import settings  # noqa: PLC0415 - costs more than most commands

    try:
        return settings.load_settings()
    except ValidationError as error:
        faults = "; ".join(
            f"UPSHOT_{'_'.join(str(part) for part in each['loc']).upper()}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)
        )
        msg = f"A setting cannot be used; change it in the environment. {faults}"
        raise CommandError(msg) from error


def _default_url() -> str:
    from services.stack.processes import front_door_url  # noqa: PLC0415 - as above

    return front_door_url(load_settings())


def _default_key() -> str:
    """The key of the data folder.

    It is read without ``DataFolder``, which would make a folder where there is none.
    """
    folder: Path = load_settings().data_dir
    file = folder / KEY_FILE
    try:
        return file.read_text()
    except FileNotFoundError as missing:
        msg = (
            f"No key is known: {file} does not exist. Give one by --key or UPSHOT_ADMIN_KEY, or "
            "name the data folder by UPSHOT_DATA_DIR."
        )
        raise CommandError(msg) from missing
    except OSError as error:
        msg = f"The key in {file} cannot be read ({error.strerror}). Give one by --key."
        raise CommandError(msg) from error
