"""Time as records: what stands on ``customer.events`` so that something happens at an instant.

Guarantee: nothing else moves time. A partition's logical time is the greatest append time read
there; that of a workspace on a test clock is where its clock was last set.
"""

from datetime import datetime

import msgspec

CLOCK_TICKED = "clock.ticked"
CLOCK_ADVANCED = "clock.advanced"


class ClockTicked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something is due and no other record has come; ``due`` is its instant, for people to read.

    It moves logical time by being appended, as every record does, and says nothing else.
    """

    due: datetime


class ClockAdvanced(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The test clock of the record's workspace shows ``to`` from here on; it never goes back."""

    to: datetime
