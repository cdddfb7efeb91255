"""Reading request bodies: never more than allowed, packed or unpacked.

Guarantee: a body is cut off while it streams, at its limit; so is what gzip unpacks to. All bodies
of the process together are bounded too. How long a body may take, ``protocol`` says.
"""

import zlib
from collections.abc import Iterable
from typing import Final, Self

from starlette.types import Receive

from services.gateway.bounds import BODIES_BYTES_MAX
from services.runtime import problems
from services.runtime.problems import ProblemError

Headers = Iterable[tuple[bytes, bytes]]

_GZIP: Final = 16 + zlib.MAX_WBITS


class ClientGoneError(Exception):
    """The client closed the connection; nobody reads an answer."""


class CutOffError(ProblemError):
    """A request is refused before its body was read: the connection cannot go on."""


class Bodies:
    """The bodies that a process holds; ``release`` what was read once it is dealt with."""

    def __init__(self) -> None:
        self._held_bytes: int = 0

    def hold(self, size_bytes: int) -> None:
        """Count bytes; raises ``CutOffError`` (429) beyond the bound of the process."""
        if self._held_bytes + size_bytes > BODIES_BYTES_MAX:
            raise CutOffError(problems.rate_limited("Too many bodies are being read."))
        self._held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Count bytes back."""
        self._held_bytes -= size_bytes


class Body:
    """The body of one request, read once by ``read`` inside a ``with`` block."""

    def __init__(self, receive: Receive, headers: Headers, bodies: Bodies) -> None:
        self._receive: Receive = receive
        self._length, self._encoding = _announced(headers)
        self._bodies: Bodies = bodies
        self._held_bytes: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.release(self._held_bytes)

    async def read(self, limit_bytes: int, *, unpack: bool = True) -> bytes:
        """Read the body, unpacked where it is gzip.

        Args:
            limit_bytes: of what is sent, and of what it unpacks to.
            unpack: leave an encoding alone where False.

        Raises:
            CutOffError: 413 too large, 415 another encoding, 429 this process holds too much.
            ProblemError: 400, not gzip though said to be.
            ClientGoneError: the client went away.
        """
        gzip = unpack and self._encoding == b"gzip"
        if unpack and self._encoding not in (b"", b"identity", b"gzip"):
            detail = "Content-Encoding may be gzip or absent."
            raise CutOffError(problems.unsupported_media(detail))
        if self._length > limit_bytes:
            raise CutOffError(problems.too_large(limit_bytes))
        body = await self._collect(limit_bytes)
        if not gzip:
            return body
        unpacked = gunzip(body, limit_bytes)
        self._hold(len(unpacked))
        return unpacked

    async def _collect(self, limit_bytes: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit_bytes:
                raise CutOffError(problems.too_large(limit_bytes))
            self._hold(len(piece))
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _hold(self, size_bytes: int) -> None:
        self._bodies.hold(size_bytes)
        self._held_bytes += size_bytes


def gunzip(packed: bytes, limit_bytes: int) -> bytes:
    """Unpack gzip of one or several members.

    Raises:
        ProblemError: 400 where it is no gzip or ends early, 413 beyond the limit.
    """
    pieces: list[bytes] = []
    room = limit_bytes + 1
    while packed:
        unpacking = zlib.decompressobj(_GZIP)
        try:
            piece = unpacking.decompress(packed, room)
        except zlib.error as error:
            raise ProblemError(problems.malformed("The body is not gzip.")) from error
        room -= len(piece)
        if room <= 0:
            raise ProblemError(problems.too_large(limit_bytes))
        if not unpacking.eof:
            raise ProblemError(problems.malformed("The gzip body ends too early."))
        pieces.append(piece)
        packed = unpacking.unused_data
    return b"".join(pieces)


def _announced(headers: Headers) -> tuple[int, bytes]:
    """Content-Length (0 where absent) and Content-Encoding of a request."""
    length, encoding = 0, b""
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    return length, encoding
