"""Whatever is sent to the front door: a problem document, never 5xx, never half an effect."""

from __future__ import annotations

import gzip
import http.client
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from contracts.codec import decode_object
from tests.support.talking import Talk, assert_problem, objects, part
from tests.support.upshot import Upshot

GIGABYTE = 1024**3
CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"
TAKEN_BYTES_MAX = 64 * 1024**2  # buffers on the way, and what is listened to so that it is read
BOMB_BYTES = 256 * 1024**2

pytestmark = pytest.mark.timeout(240)

WRONG_TYPES: list[tuple[str, object, str]] = [
    ("event", 7, "/event"),
    ("event", "", "/event"),
    ("event", "x" * 301, "/event"),
    ("event", "a\u0001b", "/event"),
    ("event", "a\u0000b", "/event"),
    ("customer", "alex", "/customer"),
    ("customer", [], "/customer"),
    ("customer", {"source_id": 5}, "/customer/source_id"),
    ("customer", {"source_id": "a\u0000"}, "/customer/source_id"),
    ("customer", {"source_id": "a", "shoe": 43}, "/customer/shoe"),
    ("customer", {"source_id": "a", "metadata": []}, "/customer/metadata"),
    ("metadata", "much", "/metadata"),
    ("metadata", {"review_type": "hologram"}, "/metadata/review_type"),
    ("metadata", {"review_type": "text", "rating": "five"}, "/metadata/rating"),
    ("metadata", {}, "/metadata/review_type"),
    ("id", 5, "/id"),
    ("id", "x" * 129, "/id"),
    ("external_id", "x" * 256, "/external_id"),
    ("external_id", "a\u0000b", "/external_id"),
    ("occurred_at", "2026-11-21T09:30:00", "/occurred_at"),
    ("occurred_at", "yesterday", "/occurred_at"),
    ("occurred_at", 1_700_000_000, "/occurred_at"),
    ("occurred_at", "9999-12-31T23:59:59Z", "/occurred_at"),
    ("deleted_at", "9999-13-31T23:59:59Z", "/deleted_at"),
    ("goal_type", "dance", "/goal_type"),
    ("goal_type", "purchase", "/goal_value"),
    ("goal_value", "149.99", "/goal_value"),
    ("referral", {"code": ""}, "/referral/code"),
    ("referral", {"code": "A", "by": 1}, "/referral/by"),
    ("loyalty", {"code": 7}, "/loyalty/code"),
    ("historical", "yes", "/historical"),
    ("shoe", 43, "/shoe"),
]


def _review(name: str, **fields: object) -> dict[str, object]:
    return {
        "event": "left_review",
        "customer": {"source_id": name},
        "metadata": {"review_type": "text"},
        **fields,
    }


def _refused(talk: Talk, body: object, status: int, *pointers: str) -> None:
    assert_problem(talk.ask("POST", "/v1/events", body), status, *pointers)


@pytest.mark.parametrize(("field", "value", "pointer"), WRONG_TYPES)
def test_a_field_of_a_wrong_form_is_named_by_its_pointer(
    talk: Talk, name: str, field: str, value: object, pointer: str
) -> None:
    _refused(talk, _review(name, **{field: value}), 400, pointer)


def test_all_faults_of_an_event_are_named_at_once(talk: Talk) -> None:
    body = {"customer": {"shoe": 1}, "metadata": 5, "occurred_at": "x", "goal_type": "x"}

    _refused(talk, body, 400, "/event", "/customer/shoe", "/metadata", "/occurred_at", "/goal_type")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b'{"event": "left_review"',
        b'{"event": "left_review", "event": "signed_up", "customer": {"source_id": "a"}}',
        b'{"event": "left_review", "customer": {"source_id": "a", "source_id": "b"}}',
        b'{"event": "left_review", "customer": {"source_id": "\xff\xfe"}}',
        b'{"event": "left_review", "customer": {"source_id": "\\ud800"}}',
        b'{"event": "left_review", "customer": {"source_id": "a"}, "metadata": {"\\u0000": 1}}',
        b'{"event": "left_review", "customer": {"source_id": "a"}, "\\ud800": 1, "\\ud800": 1}',
        b'{"event": "left_review", "customer": {"source_id": "a", "\\ud800": 1}}',
        b'{"event": "left_review", "customer": {"id": "a", "address": {"\\ud800": 1}}}',
        b'{"event": "left_review", "customer": {"id": "a"}, "referral": {"\\ud800": 1}}',
        b'{"event": "left_review", "customer": {"id": "a"}, "loyalty": {"\\ud800": 1}}',
        b'{"event": "left_review", "customer": {"source_id": "a"}, "goal_value": NaN}',
        b'{"event": "left_review", "customer": {"source_id": "a"}, "goal_value": 1e400}',
        b'{"event": "left_review", "customer": {"source_id": "a"}, "metadata": {"a": -Infinity}}',
        b'{"event": "left_review", "customer": {"source_id": "a"}, "metadata": {"a": 1e999999999}}',
        b'{"event": "left_review", "customer": {}}',
        b'{"event": "left_review", "customer": {"email": "  "}}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"event": "left_review", "customer": {"source_id": "a"}, "metadata": '
        + b'{"a":' * 10_000
        + b"1"
        + b"}" * 10_001,
        b'{"event": "left_review", "customer": {"source_id": "a"}, "metadata": {"a": '
        + b"9" * 35
        + b"}}",
    ],
)
def test_a_body_that_is_no_event_is_refused(talk: Talk, body: bytes) -> None:
    _refused(talk, body, 400)
    line = talk.ask(
        "POST", "/v1/events/batch", body + b"\n", headers={"Content-Type": "application/x-ndjson"}
    )
    assert line.status in {200, 400}, line.body
    if line.status == 200:
        assert part(decode_object(line.body), "accepted") == 0


def test_an_event_five_minutes_ahead_is_taken_and_six_is_refused(talk: Talk, name: str) -> None:
    ahead = datetime.now(tz=UTC)
    soon = (ahead + timedelta(minutes=4)).isoformat()
    talk.tell("left_review", name, metadata={"review_type": "text"}, occurred_at=soon)

    _refused(
        talk,
        _review(name, occurred_at=(ahead + timedelta(minutes=6)).isoformat()),
        400,
        "/occurred_at",
    )


def test_what_is_not_known_is_said_to_be_unknown(talk: Talk, name: str) -> None:
    _refused(talk, _review(name, event=name), 400)
    _refused(talk, _review(name, customer={"id": "cust_" + "0" * 32}), 404)
    assert_problem(talk.ask("GET", f"/v1/customers/{name}"), 404)
    assert_problem(talk.ask("GET", "/v1/events/event_" + "0" * 32), 404)
    assert_problem(talk.ask("GET", "/v1/events/nonsense"), 404)
    assert_problem(talk.ask("GET", f"/v1/{name}"), 404)
    assert_problem(talk.ask("DELETE", "/v1/events"), 405)


def test_two_identifiers_of_different_customers_are_a_warning(talk: Talk, name: str) -> None:
    talk.tell("signed_up", name, customer={"source_id": name, "email": f"{name}@domain.io"})

    told = talk.tell(
        "signed_up", f"{name}-2", customer={"source_id": f"{name}-2", "email": f"{name}@domain.io"}
    )

    assert objects(told.whole["warnings"])
    assert part(told.whole, "customer", "source_id") == f"{name}-2"


def test_only_keys_with_the_scope_get_in(talk: Talk, name: str) -> None:
    made = talk.ask("POST", "/v1/keys", {"name": name, "scopes": ["customers:read"]})
    assert made.status in {200, 201}, made.body
    secret = str(decode_object(made.body)["secret"])

    forbidden = talk.ask(
        "POST", "/v1/events", _review(name), headers={"Authorization": f"Bearer {secret}"}
    )
    assert "events:write" in str(assert_problem(forbidden, 403)["detail"])
    unknown = talk.ask("POST", "/v1/events", _review(name), headers={"Authorization": "Bearer x"})
    assert_problem(unknown, 401)


def test_another_media_type_is_refused(talk: Talk, name: str) -> None:
    answer = talk.ask("POST", "/v1/events", _review(name), headers={"Content-Type": "text/plain"})

    assert_problem(answer, 415)


@pytest.mark.parametrize(
    ("path", "size_bytes"), [("/v1/events", 70 * 1024), ("/v1/events/batch", 9 * 1024 * 1024)]
)
def test_a_body_beyond_its_limit_is_refused(talk: Talk, path: str, size_bytes: int) -> None:
    assert_problem(talk.ask("POST", path, b" " * size_bytes), 413)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(talk: Talk) -> None:
    bomb = gzip.compress(b" " * BOMB_BYTES)

    answer = talk.ask("POST", "/v1/events/batch", bomb, headers={"Content-Encoding": "gzip"})

    assert_problem(answer, 413)
    broken = talk.ask("POST", "/v1/events/batch", b"no", headers={"Content-Encoding": "gzip"})
    assert_problem(broken, 400)


def test_a_gigabyte_in_chunks_is_cut_off_early(talk: Talk) -> None:
    sent, status = _send_chunks(talk.upshot, "/v1/events", GIGABYTE // 65_536)

    assert status == 413
    assert sent < TAKEN_BYTES_MAX
    assert talk.ask("GET", "/healthz").status == 200


def _send_chunks(upshot: Upshot, path: str, count: int) -> tuple[int, int]:
    """Send chunks until the other side answers or hangs up; bytes sent, and the status."""
    address = urlsplit(upshot.url)
    assert address.hostname is not None and address.port is not None, (
        "the front door has an address"
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {upshot.admin_key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head)
        sent = sum(_sent(connection, count))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return sent, answer.status


def _sent(connection: socket.socket, count: int) -> Iterator[int]:
    for _ in range(count):
        try:
            connection.sendall(CHUNK)
        except (ConnectionError, TimeoutError):
            return
        yield len(CHUNK)


def test_nothing_of_what_was_refused_has_an_effect(talk: Talk, name: str) -> None:
    _refused(talk, _review(name, metadata={"review_type": "hologram"}), 400)
    _refused(talk, _review(name, occurred_at="x"), 400)

    assert_problem(talk.ask("GET", f"/v1/customers/{name}"), 404)
    answer = talk.ask(
        "POST", "/v1/events/batch", [_review(name, id=f"{name}-1"), _review(name, shoe=1), 5]
    )
    said = decode_object(answer.body)
    assert (said["accepted"], said["refused"]) == (1, 2), said
    assert talk.points(name, answer.headers["upshot-position"]) == 50
