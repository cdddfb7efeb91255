"""How far an import is, kept beside its input so that it can go on where it stopped.

Guarantee: what the file says was sent was answered; it is replaced as a whole or not at all. An
import goes on only in the same input: what it sent must still stand there byte for byte.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

from services.operations.errors import CommandError

READ_BYTES: Final = 1024 * 1024


class Digest(Protocol):
    """A hash that is carried on."""

    def update(self, data: bytes, /) -> None:
        """Take further bytes."""
        ...

    def hexdigest(self) -> str:
        """Spell the hash of all bytes so far."""
        ...


class ImportState(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import is.

    Attributes:
        import_id: drawn at its start; ids of events that came without any derive from it.
        url: of the front door that it sends to.
        historical: whether its events are sent as history.
        next_offset: bytes of the input that were answered.
        digest: SHA-256 of these bytes, hexadecimal.
        lines: lines that they make, empty ones included.
        accepted: events accepted so far.
        refused: events refused so far.
        refusals_bytes: length of the file of refusals then.
    """

    import_id: str
    url: str
    historical: bool
    next_offset: int = 0
    digest: str = hashlib.sha256().hexdigest()
    lines: int = 0
    accepted: int = 0
    refused: int = 0
    refusals_bytes: int = 0


def read_state(file: Path) -> ImportState | None:
    """Read what an earlier import left; None where none was interrupted.

    Raises:
        CommandError: the file is none of an import, or cannot be read.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=ImportState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        msg = f"{file} cannot be read as the state of an import ({error}). Name another by --state."
        raise CommandError(msg) from error


def write_state(file: Path, state: ImportState) -> None:
    """Replace the state on disk; raises ``CommandError`` where it cannot be written."""
    new = file.with_name(f"{file.name}.new")
    try:
        with new.open("wb") as written:
            written.write(msgspec.json.encode(state))
            written.flush()
            os.fsync(written.fileno())
        new.replace(file)
    except OSError as error:
        msg = f"{file} cannot be written ({error.strerror}). Name another place by --state."
        raise CommandError(msg) from error


def pass_over(source: BinaryIO, state: ImportState, file: Path) -> Digest:
    """Read what was sent already, and make sure that it is the same.

    Returns:
        the digest so far, to be carried on.

    Raises:
        CommandError: the input has changed since.
    """
    digest, left = hashlib.sha256(), state.next_offset
    while left and (piece := source.read(min(left, READ_BYTES))):
        digest.update(piece)
        left -= len(piece)
    if left or digest.hexdigest() != state.digest:
        msg = (
            f"The input has changed in its first {state.next_offset} bytes since the import that "
            f"{file} tells of. Remove that file to import from the start."
        )
        raise CommandError(msg)
    return digest
