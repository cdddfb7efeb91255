"""Which addresses outgoing requests may reach: every vector, by guard and by URL."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from services.runtime.egress import (
    AddressGuard,
    EgressError,
    ForbiddenAddressError,
    UnreachableError,
    UnusableUrlError,
    open_egress,
    parse_url,
)


class AddressCase(msgspec.Struct):
    ip: str
    allow: bool


class UrlCase(msgspec.Struct):
    url: str
    expect: str


class Vectors(msgspec.Struct):
    ip_cases: list[AddressCase]
    url_cases: list[UrlCase]


_FILE = Path(__file__).parents[3] / "contracts" / "vectors" / "ssrf_vectors.json"
VECTORS = msgspec.json.decode(_FILE.read_bytes(), type=Vectors)
BLOCKED = [case.url for case in VECTORS.url_cases if case.expect.startswith("block")]
MALFORMED = [case.url for case in VECTORS.url_cases if case.expect == "must not parse"]
ALLOWED = [case.url for case in VECTORS.url_cases if case.expect == "allow"]


def test_every_vector_is_used() -> None:
    assert len(VECTORS.ip_cases) == 41
    assert len(BLOCKED) + len(MALFORMED) + len(ALLOWED) == len(VECTORS.url_cases)


@pytest.mark.parametrize("case", VECTORS.ip_cases, ids=lambda case: case.ip)
def test_addresses_are_allowed_as_the_vectors_say(case: AddressCase) -> None:
    assert AddressGuard().allows(ip_address(case.ip)) == case.allow


@pytest.mark.parametrize("url", BLOCKED)
async def test_a_url_to_a_forbidden_address_reaches_nothing(url: str) -> None:
    async with open_egress(deadline_seconds=5) as egress:
        with pytest.raises((ForbiddenAddressError, UnreachableError, UnusableUrlError)):
            await egress.post(parse_url(url), b"{}", {})


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_host_is_no_url(url: str) -> None:
    with pytest.raises(UnusableUrlError):
        parse_url(url)


@pytest.mark.parametrize("url", ALLOWED)
def test_a_public_address_is_a_url_and_allowed(url: str) -> None:
    assert AddressGuard().allows(ip_address(parse_url(url).host or ""))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example",
        "//a.example",
        "a.example",
        "http://",
        "http://a b/",
        "http://a\\@b/",
        "http://a:99999/",
        "http://a:0/",
        "file:///etc/passwd",
        "http://a/\n",
        "http://" + "a" * 3000,
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(UnusableUrlError):
        parse_url(url)


def test_an_allowed_network_opens_only_itself() -> None:
    guard = AddressGuard([ip_network("127.0.0.0/8")])

    assert guard.allows(ip_address("127.0.0.1"))
    assert guard.allows(ip_address("::ffff:127.0.0.1"))
    assert not guard.allows(ip_address("::1"))
    assert not guard.allows(ip_address("10.0.0.1"))


async def test_a_port_nobody_listens_on_is_unreachable() -> None:
    async with open_egress([ip_network("127.0.0.0/8")], deadline_seconds=5) as egress:
        with pytest.raises(EgressError) as caught:
            await egress.post(parse_url("http://127.0.0.1:1/"), b"{}", {})

    assert isinstance(caught.value, UnreachableError)
    assert "127.0.0.1" not in str(caught.value)
