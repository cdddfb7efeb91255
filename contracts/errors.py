"""What is wrong with something that was said: faults with their place, and their error.

A fault names one field by its JSON pointer (RFC 6901), missing fields included. Codes are stable
kebab-case slugs, details are sentences for people.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

UNSUPPORTED: Final = "unsupported"


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, at one place."""

    pointer: str
    code: str
    detail: str


class RefusedError(Exception):
    """What was said is refused; every fault found is listed, in document order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        assert self.faults, "a refusal names at least one fault"
        super().__init__("; ".join(f"{f.pointer}: {f.detail}" for f in self.faults))


class RevisionAheadError(Exception):
    """A record is stamped with a definitions revision that was not read here yet; wait for it."""

    def __init__(self, *, workspace: str, revision: int, known: int) -> None:
        self.workspace: str = workspace
        self.revision: int = revision
        self.known: int = known
        super().__init__(f"revision {revision} of {workspace} is ahead of {known}")


def refuse(pointer: str, code: str, detail: str) -> RefusedError:
    """A refusal of one fault."""
    return RefusedError((Fault(pointer=pointer, code=code, detail=detail),))


def pointer_to(pointer: str, *tokens: str | int) -> str:
    """``pointer`` extended by tokens, each escaped as RFC 6901 asks."""
    escaped = (str(token).replace("~", "~0").replace("/", "~1") for token in tokens)
    return "/".join((pointer, *escaped))
