"""What became of a request: decided once, and answered the same ever after. Pure."""

import msgspec

from contracts.effects import LoyaltyEntry

RequestPlace = tuple[str, str, bytes]
"""Workspace, customer id and key of the request."""


class Granted(msgspec.Struct, frozen=True, tag_field="outcome", tag="granted"):
    """The entry that the request caused."""

    entry: LoyaltyEntry


class Joined(msgspec.Struct, frozen=True, kw_only=True, tag_field="outcome", tag="joined"):
    """The customer is a member; the points are those of that moment."""

    available: int
    pending: int
    spent: int
    expired: int


class Refused(msgspec.Struct, frozen=True, tag_field="outcome", tag="refused"):
    """A rule forbade it; ``slug`` is that of the problem document, ``detail`` its sentence."""

    slug: str
    detail: str


Answer = Granted | Joined | Refused


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to a request, and where in the log it was decided.

    ``digest`` is that of the command: the same key with another one is another command.
    """

    request: RequestPlace
    program: str
    digest: str
    answer: Answer
    partition: int
    offset: int
