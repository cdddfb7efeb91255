"""Endpoints: a well-formed URL, headers of the customer's own, secrets that only go in."""

import base64
from decimal import Decimal

import pytest

from contracts.definitions.endpoints import parse_endpoint, redact
from contracts.errors import RefusedError

URL = "https://hooks.example.com/in?x=1"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def digest(pointer: str, value: str) -> str:
    return f"blake2b:{len(pointer):032x}{len(value):032x}"


def faults(**spec: object) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as refused:
        parse_endpoint("hook", {"url": URL, **spec})
    return [(fault.pointer, fault.code) for fault in refused.value.faults]


def test_an_endpoint_has_its_defaults() -> None:
    made = parse_endpoint("hook", {"url": URL})

    assert (made.concurrency, made.rate_per_second, made.ordered) == (10, None, True)
    assert (made.secret_digest, made.header_digests) == (None, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/x",
        "https://[2001:db8::1]:8443/",
        "https://a.b/path?query=%20",
        "HTTPS://A.B",
    ],
)
def test_a_well_formed_url_is_taken(url: str) -> None:
    assert parse_endpoint("hook", {"url": url}).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "//a.b/",
        "ftp://a.b/",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://:80/",
        "http://user@a.b/",
        "http://user:pass@a.b/",
        "http://@a.b/",
        "http://a.b:0/",
        "http://a.b:99999/",
        "http://a.b:x/",
        "http://[::1",
        "http://a b/",
        "http://a.b/\r\nX: y",
        "http://a.b\\@c.d/",
        "http://a.b/#part",
        "http://ä.example/",
        "http://a.b/" + "x" * 2048,
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    assert faults(url=url) == [("/url", "url")]


@pytest.mark.parametrize(
    ("spec", "pointer", "code"),
    [
        ({"url": 5}, "/url", "type"),
        ({"headers": {"Host": "x"}}, "/headers/Host", "header"),
        ({"headers": {"Webhook-Id": "x"}}, "/headers/Webhook-Id", "header"),
        ({"headers": {"content-length": "5"}}, "/headers/content-length", "header"),
        ({"headers": {"X Key": "x"}}, "/headers/X Key", "header"),
        ({"headers": {"X-Key": "a\r\nb"}}, "/headers/X-Key", "header"),
        ({"headers": {"X-Key": ""}}, "/headers/X-Key", "header"),
        ({"headers": {"X-Key": 5}}, "/headers/X-Key", "type"),
        ({"headers": {"X-Key": "a", "x-key": "b"}}, "/headers", "duplicate"),
        ({"headers": {f"X-{n}": "a" for n in range(21)}}, "/headers", "too-long"),
        ({"headers": []}, "/headers", "type"),
        ({"secret": "short"}, "/secret", "secret"),
        ({"secret": "whsec_" + "A" * 8}, "/secret", "secret"),
        ({"secret": "whsec_ä"}, "/secret", "secret"),
        ({"secret": 5}, "/secret", "type"),
        ({"concurrency": 0}, "/concurrency", "greater-than-equal"),
        ({"concurrency": 101}, "/concurrency", "less-than-equal"),
        ({"concurrency": "5"}, "/concurrency", "type"),
        ({"rate_per_second": 0}, "/rate_per_second", "range"),
        ({"rate_per_second": 20_000}, "/rate_per_second", "less-than-equal"),
        ({"ordered": "yes"}, "/ordered", "type"),
        ({"timeout": 5}, "/timeout", "unknown-field"),
    ],
)
def test_an_endpoint_that_is_wrong_is_refused(
    spec: dict[str, object], pointer: str, code: str
) -> None:
    assert faults(**spec) == [(pointer, code)]


def test_no_fault_repeats_a_secret() -> None:
    with pytest.raises(RefusedError) as refused:
        parse_endpoint("hook", {"url": URL, "secret": "hunter2", "headers": {"A": "top\nsecret"}})

    assert "hunter2" not in str(refused.value)
    assert "top" not in str(refused.value)


def test_secrets_are_taken_out_and_leave_their_digest() -> None:
    public, secrets = redact({"url": URL, "secret": SECRET, "headers": {"X-Key": "abc"}}, digest)

    assert public == {
        "url": URL,
        "secret": digest("/secret", SECRET),
        "headers": {"X-Key": digest("/headers/X-Key", "abc")},
    }
    assert (secrets.secret, secrets.headers) == (SECRET, {"X-Key": "abc"})
    assert "abc" not in repr(secrets)


def test_a_digest_that_comes_back_means_the_value_it_stands_for() -> None:
    public, _ = redact({"url": URL, "secret": SECRET, "headers": {"X-Key": "abc"}}, digest)
    again, secrets = redact(public, digest)

    assert again == public
    assert (secrets.secret, secrets.headers) == (None, {})


def test_an_endpoint_is_read_with_its_secrets_and_holds_none() -> None:
    spec = {"url": URL, "secret": SECRET, "headers": {"X-Key": "abc"}, "rate_per_second": 0.5}
    public, _ = redact(spec, digest)

    assert parse_endpoint("hook", public).header_digests == public["headers"]
    assert SECRET not in repr(parse_endpoint("hook", spec))
    assert parse_endpoint("hook", spec).header_digests == {"X-Key": ""}
    assert parse_endpoint("hook", spec).rate_per_second == Decimal("0.5")
