"""Outgoing HTTP to addresses that customers choose: the one home of the aiohttp client.

Guarantee: no socket is ever opened to an address outside the public internet and the allowed
networks. The address is checked where the socket is made, so a name that resolves to something
else the second time, or a numeric spelling, changes nothing. Redirects are not followed, proxies
of the environment not used, cookies not kept, answers not decompressed; one deadline covers
connecting, sending and reading, and of an answer at most ``ANSWER_BYTES_MAX`` are read.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import aiohttp
import msgspec
from yarl import URL

DEADLINE_SECONDS: Final = 15.0
"""One request in all: Standard Webhooks asks for 15 to 30 s."""
ANSWER_BYTES_MAX: Final = 4 * 1024
"""Of an answer's body: enough for an error's text, too little to fill memory or rows."""
HEADER_LINE_BYTES_MAX: Final = 8 * 1024
KEEP_ALIVE_SECONDS: Final = 15.0
"""An idle connection is closed after this long, so addresses are looked at again."""
NAME_AGE_SECONDS: Final = 10
"""How long an answer of the name service is used."""
URL_CHARS_MAX: Final = 2_048
URLS_MAX: Final = 1_024
"""URLs kept parsed: those of the endpoints that are sent to."""

Network = IPv4Network | IPv6Network
AddressFound = tuple[int, int, int, str, tuple[object, ...]]
"""One answer of ``socket.getaddrinfo``: family, kind, protocol, name, and (address, port, ...)."""

# Python 3.11's `is_global` allows 11 of the addresses that must be refused (NAT64, 6to4, SRv6,
# multicast, documentation and more), so the IANA special-purpose registries stand here.
_FORBIDDEN: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared address space of carriers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, metadata services of clouds among them
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "::/96",  # unspecified, loopback, IPv4-compatible
        "64:ff9b::/96",  # NAT64: leads to any IPv4 address
        "64:ff9b:1::/48",  # local NAT64
        "100::/64",  # discard
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: leads to any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)


class UnusableUrlError(ValueError):
    """The URL is not an absolute http or https URL with a proper host."""


class EgressError(Exception):
    """No whole answer came; the text says why and may be shown to the endpoint's owner."""


class ForbiddenAddressError(EgressError):
    """The URL leads to an address that requests may not reach (see UPSHOT_WEBHOOK_ALLOW)."""


class DeadlineError(EgressError):
    """No whole answer within the deadline."""


class ConnectionLostError(EgressError):
    """The connection was closed or reset before an answer: trying again at once may help."""


class UnreachableError(EgressError):
    """No connection could be made, or what came back was not HTTP."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver answered; ``body`` is the beginning, at most ``ANSWER_BYTES_MAX``."""

    status: int
    retry_after: str | None
    body: bytes


class AddressGuard:
    """Says which addresses may be reached."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def allows(self, address: IPv4Address | IPv6Address) -> bool:
        """True for public addresses and those of the allowed networks."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed):
            return True
        return not any(address in network for network in _FORBIDDEN)

    def open_socket(self, found: AddressFound) -> socket.socket:
        """Make the socket for one address that a name resolved to.

        Raises:
            ForbiddenAddressError: the address may not be reached.
        """
        family, kind, protocol, _, target = found
        address = ip_address(str(target[0]).partition("%")[0])
        if not self.allows(address):
            raise ForbiddenAddressError("the address is not allowed")
        return socket.socket(family=family, type=kind, proto=protocol)


@lru_cache(maxsize=URLS_MAX)
def parse_url(text: str) -> URL:
    """Read a URL that requests can be sent to; whether its address is allowed shows later.

    Raises:
        UnusableUrlError: not an absolute http(s) URL, or its host or port is malformed.
    """
    if len(text) > URL_CHARS_MAX or not text.isprintable() or " " in text or "\\" in text:
        raise UnusableUrlError
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise UnusableUrlError from error
    if url.scheme not in ("http", "https") or not host or port is None or port == 0:
        raise UnusableUrlError
    bracketed = "[" in text.partition("://")[2].partition("/")[0]
    try:
        is_v6 = isinstance(ip_address(host), IPv6Address)
    except ValueError:
        is_v6 = False
    if "%" in host or bracketed != is_v6:
        raise UnusableUrlError
    return url


class Egress:
    """Sends requests; made by ``open_egress``."""

    def __init__(self, session: aiohttp.ClientSession, deadline_seconds: float) -> None:
        self._session = session
        self._deadline_seconds = deadline_seconds

    async def post(
        self, url: URL, body: bytes, headers: Mapping[str, str], *, started: float | None = None
    ) -> Answer:
        """Send a body and read the beginning of the answer, whatever its status.

        The deadline counts from ``started`` (of ``time.monotonic()``), or from now.

        Raises:
            ForbiddenAddressError: the address may not be reached; nothing was sent.
            DeadlineError: no whole answer in time.
            ConnectionLostError: closed or reset before an answer; it may have been received.
            UnreachableError: no connection, or no HTTP.
        """
        spent = 0.0 if started is None else time.monotonic() - started
        try:
            async with asyncio.timeout(max(0.0, self._deadline_seconds - spent)):
                return await self._post(url, body, headers)
        except TimeoutError as error:
            raise DeadlineError(f"no whole answer within {self._deadline_seconds:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise UnreachableError(_reason(error.os_error)) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise ConnectionLostError("the connection was closed before an answer") from error
        except aiohttp.ClientPayloadError as error:
            raise ConnectionLostError("the connection was closed within the answer") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise UnreachableError(f"the answer is not HTTP: {type(error).__name__}") from error
        except OSError as error:
            raise UnreachableError(_reason(error)) from error

    async def _post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        async with self._session.post(
            url, data=body, headers=headers, allow_redirects=False
        ) as response:
            read = await _beginning(response)
            if not response.content.at_eof():
                response.close()
            return Answer(
                status=response.status, retry_after=response.headers.get("Retry-After"), body=read
            )


@asynccontextmanager
async def open_egress(
    allowed: Sequence[Network] = (), *, deadline_seconds: float = DEADLINE_SECONDS
) -> AsyncGenerator[Egress]:
    """Open connections as they are needed, for as long as the block runs.

    The number of requests at once is the caller's to bound.
    """
    guard = AddressGuard(allowed)
    connector = aiohttp.TCPConnector(
        limit=0,
        socket_factory=guard.open_socket,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        ttl_dns_cache=NAME_AGE_SECONDS,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        trust_env=False,
        max_line_size=HEADER_LINE_BYTES_MAX,
        max_field_size=HEADER_LINE_BYTES_MAX,
    ) as session:
        yield Egress(session, deadline_seconds)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    room = ANSWER_BYTES_MAX
    while room and (part := await response.content.read(room)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


def _reason(error: OSError) -> str:
    """Say what the system said, without the address."""
    if isinstance(error, ssl.SSLError):
        return f"no secure connection: {error.reason}"
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    return os.strerror(error.errno) if error.errno else type(error).__name__
