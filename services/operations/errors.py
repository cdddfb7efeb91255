"""Why a command ends without having done what it was asked for.

Guarantee: the text of each error is a sentence for the person at the terminal, and says what to do.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.errors import Fault

FAILURE: Final = 1
USAGE: Final = 2

HINTS: Final = {
    401: "Give a key by --key or UPSHOT_ADMIN_KEY.",
    403: "Use a key with that scope; `upshot keys create` makes one.",
    404: "Look for a misspelled name or id.",
    405: "Is --url the address of Upshot's front door, of this version?",
    413: "Send less at a time.",
    429: "Try again in a moment.",
    503: "Try again in a moment; `/readyz` of each process says what is missing.",
}
"""What to do, by status, where the problem itself does not say it."""


class CommandError(Exception):
    """The command failed; the message says why and what to do."""


class UnreachableError(CommandError):
    """Nothing answered, or the answer broke off."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457), as far as it is shown."""

    title: str
    status: int
    detail: str = ""
    errors: Sequence[Fault] = ()


class RefusedCallError(CommandError):
    """The front door refused a request.

    Attributes:
        problem: what it said.
        retry_after_seconds: how long it asks to wait, None where it does not say.
    """

    def __init__(self, problem: Problem, retry_after_seconds: float | None = None) -> None:
        self.problem: Final = problem
        self.retry_after_seconds: Final = retry_after_seconds
        super().__init__(explained(problem))


def explained(problem: Problem) -> str:
    """Spell out a problem: a sentence, then a line for each fault that it does not tell."""
    sentence = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    ended = sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    hint = HINTS.get(problem.status)
    first = f"{ended} {hint}" if hint else ended
    if len(problem.errors) == 1 and problem.errors[0].detail in problem.detail:
        return first
    return "\n".join(
        (first, *(f"  {each.pointer or '/'}  {each.detail}" for each in problem.errors))
    )
