"""Finding the key in a request's headers, and what a key allows."""

from __future__ import annotations

import pytest

from services.runtime.access import Access, digest_of, new_secret, token_of
from tests.unit.api.asgi import basic


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([(b"authorization", b"Bearer k")], "k"),
        ([(b"authorization", b"bearer  k ")], "k"),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", basic("k").encode())], "k"),
        ([(b"authorization", b"Basic !!!")], None),
        ([(b"authorization", b"Digest k")], None),
        ([(b"x-app-token", b"k"), (b"x-app-id", b"any")], "k"),
        ([(b"x-app-token", b"")], None),
        ([(b"x-app-token", b"a"), (b"authorization", b"Bearer b")], "b"),
    ],
)
def test_a_token_is_found(headers: list[tuple[bytes, bytes]], token: str | None) -> None:
    assert token_of(headers) == token


def test_admin_holds_every_scope() -> None:
    admin = Access(key_id="k", workspace="w", scopes=frozenset({"admin"}))
    reader = Access(key_id="k", workspace="w", scopes=frozenset({"customers:read"}))

    assert admin.allows("events:write") and not reader.allows("events:write")


def test_secrets_differ_and_so_do_their_digests() -> None:
    one, two = new_secret(), new_secret()

    assert one != two and digest_of(one) != digest_of(two)
    assert len(digest_of(one)) == 32
