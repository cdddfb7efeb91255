"""Reading bodies, bounded."""

from __future__ import annotations

import gzip
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive

from services.gateway.bodies import Bodies, Body, ClientGoneError, CutOffError, gunzip
from services.gateway.bounds import BODIES_BYTES_MAX
from services.runtime.problems import ProblemError

LIMIT = 1000


def receiving(pieces: Iterable[bytes]) -> Receive:
    """The pieces as ASGI messages, the last one ending the body."""
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    return receive


async def read(pieces: Iterable[bytes], *headers: tuple[bytes, bytes]) -> bytes:
    with Body(receiving(pieces), headers, Bodies()) as body:
        return await body.read(LIMIT)


async def test_a_body_is_put_together() -> None:
    assert await read([b"one", b"two"]) == b"onetwo"


async def test_a_body_is_cut_off_while_it_streams() -> None:
    taken = 0

    def endless() -> Iterable[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 100

    async def receive() -> Message:
        return {"type": "http.request", "body": next(iter(endless())), "more_body": True}

    with Body(receive, [], Bodies()) as body, pytest.raises(CutOffError) as caught:
        await body.read(LIMIT)

    assert caught.value.problem.status == 413
    assert taken == 11


async def test_an_announced_length_beyond_the_limit_is_not_read_at_all() -> None:
    with pytest.raises(CutOffError) as caught:
        await read([], (b"content-length", b"1001"))

    assert caught.value.problem.status == 413


async def test_gzip_is_unpacked() -> None:
    assert await read([gzip.compress(b"hello")], (b"content-encoding", b"GZIP")) == b"hello"


async def test_gzip_of_several_members_is_unpacked() -> None:
    packed = gzip.compress(b"one") + gzip.compress(b"two")

    assert gunzip(packed, LIMIT) == b"onetwo"


@pytest.mark.parametrize(
    "packed",
    [b"not gzip", gzip.compress(b"hello" * 50)[:-9], gzip.compress(b"hello") + b"garbage"],
)
def test_broken_gzip_is_malformed(packed: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        gunzip(packed, LIMIT)

    assert caught.value.problem.status == 400


@pytest.mark.parametrize("bomb", [gzip.compress(b"0" * 10_000_000), gzip.compress(b"0" * 999) * 2])
def test_a_gzip_bomb_is_too_large(bomb: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        gunzip(bomb, LIMIT)

    assert caught.value.problem.status == 413


async def test_another_encoding_is_not_supported() -> None:
    with pytest.raises(CutOffError) as caught:
        await read([b"x"], (b"content-encoding", b"br"))

    assert caught.value.problem.status == 415


async def test_a_client_that_goes_away_is_noticed() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with Body(receive, [], Bodies()) as body, pytest.raises(ClientGoneError):
        await body.read(LIMIT)


async def test_all_bodies_together_are_bounded_and_released() -> None:
    bodies = Bodies()
    bodies.hold(BODIES_BYTES_MAX - 5)

    with Body(receiving([b"123456"]), [], bodies) as body, pytest.raises(CutOffError) as caught:
        await body.read(LIMIT)
    assert caught.value.problem.status == 429
    with Body(receiving([b"12345"]), [], bodies) as body:
        assert await body.read(LIMIT) == b"12345"

    bodies.hold(5)
