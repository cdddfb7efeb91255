"""One question for many askers: who asks while a round is under way is answered by the next.

Guarantee: however many ask, one session is used and one round is under way at a time; the first
asker waits for no one. A round that fails, fails for those who were in it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, TypeVar

from services.runtime.postgres import Session, translated

Asked = TypeVar("Asked")
Found = TypeVar("Found")

ROUND_MAX: Final = 500
"""Askers of one round: some milliseconds of Postgres' time."""
ROUND_INTERVAL_SECONDS: Final = 0.005
"""Between the beginnings of two rounds that follow each other: one costs about a millisecond of
processor time, however many are in it."""


class Rounds(Generic[Asked, Found]):
    """Asks ``ask`` for all who wait; it answers one value for each, in order.

    Args:
        session: opens a session for as long as rounds follow each other.
        ask: what a round asks.
    """

    def __init__(
        self,
        session: Callable[[], AbstractAsyncContextManager[Session]],
        ask: Callable[[Session, Sequence[Asked]], Awaitable[Sequence[Found]]],
    ) -> None:
        self._session: Final = session
        self._ask: Final = ask
        self._waiting: list[tuple[Asked, asyncio.Future[Found]]] = []
        self._task: asyncio.Task[None] | None = None

    async def answer(self, asked: Asked) -> Found:
        """Have it asked in the next round; raises what that round raised."""
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        return await answer

    async def _serve(self) -> None:
        while self._waiting:
            try:
                with translated():
                    async with self._session() as session:
                        while self._waiting:
                            began_at = time.monotonic()
                            await self._round(session)
                            rest = began_at + ROUND_INTERVAL_SECONDS - time.monotonic()
                            await asyncio.sleep(max(0.0, rest))
            except Exception as error:  # noqa: BLE001 - each asker decides by itself
                taken, self._waiting = self._waiting, []
                _fail([answer for _, answer in taken], error)
        self._task = None

    async def _round(self, session: Session) -> None:
        in_work, self._waiting = self._waiting[:ROUND_MAX], self._waiting[ROUND_MAX:]
        try:
            with translated():
                found = await self._ask(session, [asked for asked, _ in in_work])
        except Exception as error:
            _fail([answer for _, answer in in_work], error)
            raise
        for (_, answer), each in zip(in_work, found, strict=True):
            if not answer.done():
                answer.set_result(each)


def _fail(answers: Sequence[asyncio.Future[Found]], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
