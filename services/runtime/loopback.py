"""Outgoing HTTP from one process of this installation to another, and nowhere else.

Guarantee: a session speaks to the address it was made for alone, knows no proxy, keeps no cookies,
follows no redirect and changes no bytes of what it carries.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from yarl import URL

REQUEST_ERRORS: Final = (aiohttp.ClientError, TimeoutError, OSError)

_OWN_HEADERS: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""What aiohttp would add of its own."""


class LoopbackError(Exception):
    """The other process did not answer, or stopped in the middle of its answer."""


class LoopbackAnswer:
    """An answer whose head has come; its body is read piece by piece."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response: aiohttp.ClientResponse = response
        self.status: Final = response.status
        self.headers: Final[Sequence[tuple[bytes, bytes]]] = response.raw_headers

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes; raises ``LoopbackError`` when it breaks off."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except REQUEST_ERRORS as error:
            raise LoopbackError(str(error)) from error


class Loopback:
    """Requests to one process on ``host:port``."""

    def __init__(self, host: str, port: int, session: aiohttp.ClientSession) -> None:
        self._origin: Final = f"http://{host}:{port}"
        self._session: aiohttp.ClientSession = session

    @asynccontextmanager
    async def request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | AsyncIterable[bytes],
    ) -> AsyncGenerator[LoopbackAnswer]:
        """Send a request; gives its answer once the head has come.

        Args:
            method: as it stands in the request line.
            target: path and query as they came, still escaped.
            headers: all that are sent besides length and framing.
            body: empty for none.

        Raises:
            LoopbackError: nobody answered.
        """
        request = self._session.request(
            method,
            URL(self._origin + target, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=_OWN_HEADERS,
        )
        try:
            response = await request.__aenter__()
        except REQUEST_ERRORS as error:
            raise LoopbackError(str(error)) from error
        try:
            yield LoopbackAnswer(response)
        finally:
            response.close() if not response.content.at_eof() else response.release()


@asynccontextmanager
async def open_loopback(
    host: str, port: int, *, connections_max: int, connect_seconds: float, read_seconds: float
) -> AsyncGenerator[Loopback]:
    """Open a session to one process for as long as the block runs.

    Args:
        host: its address.
        port: its port.
        connections_max: at one time.
        connect_seconds: until a connection stands.
        read_seconds: between two pieces of an answer.
    """
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=connect_seconds, sock_read=read_seconds
    )
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections_max),
        timeout=timeout,
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Loopback(host, port, session)
