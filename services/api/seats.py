"""Places for requests that stay: those that wait for a position, commands, and streams.

Guarantee: no more of them at once than there are seats, and of one workspace no more than its
share; who finds none is refused at once and told to come again. What answers in milliseconds needs
no seat and always finds room.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from services.runtime.problems import ProblemError, rate_limited

WAITS_MAX: Final = 128
"""Requests that wait at once: with streams and commands, three quarters of what the front door
passes on."""
WAITS_OF_WORKSPACE_MAX: Final = 96
COMMANDS_MAX: Final = 512
"""Commands at once: 3,000 a second at 150 ms each, and what piles up while loyalty is away."""
COMMANDS_OF_WORKSPACE_MAX: Final = 384
STREAMS_MAX: Final = 64
"""Streams at once: each asks Postgres four times a second."""
STREAMS_OF_WORKSPACE_MAX: Final = 48
RETRY_SECONDS: Final = 1


class Seats:
    """Seats of one kind; ``what`` names in the plural who sits on them."""

    def __init__(self, what: str, *, total: int, of_workspace: int) -> None:
        self._what = what
        self._total = total
        self._of_workspace = of_workspace
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def take(self, workspace: str) -> None:
        """Take one; raises ``ProblemError`` 429 where there is none."""
        if self.taken >= self._total or self._taken[workspace] >= self._of_workspace:
            detail = f"There are too many {self._what} at once."
            raise ProblemError(rate_limited(detail, retry_after_seconds=RETRY_SECONDS))
        self._taken[workspace] += 1

    def leave(self, workspace: str) -> None:
        """Give one back."""
        assert self._taken[workspace] > 0, "a seat is taken before it is left"
        self._taken[workspace] -= 1
        if not self._taken[workspace]:
            del self._taken[workspace]

    @contextmanager
    def seated(self, workspace: str) -> Generator[None]:
        """Sit for as long as the block runs."""
        self.take(workspace)
        try:
            yield
        finally:
            self.leave(workspace)


def waiting_seats() -> Seats:
    """Of requests that wait for a position."""
    return Seats("requests that wait", total=WAITS_MAX, of_workspace=WAITS_OF_WORKSPACE_MAX)


def command_seats() -> Seats:
    """Of commands that wait for their outcome."""
    return Seats("commands", total=COMMANDS_MAX, of_workspace=COMMANDS_OF_WORKSPACE_MAX)


def stream_seats() -> Seats:
    """Of streams."""
    return Seats("streams", total=STREAMS_MAX, of_workspace=STREAMS_OF_WORKSPACE_MAX)
