"""What stands on ``segment.memberships``: who entered or left which segment, where and why.

Guarantee: as for ``contracts.events``, these structs decode every record ever written. The records
of a partition stand in the order of their places.
"""

from datetime import datetime
from typing import Literal

import msgspec

MEMBERSHIP_CHANGED = "segment.membership_changed"

Cause = Literal["time", "event"]


class Place(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where in its customer's partition of ``customer.events`` something happened.

    ``by`` is ``time`` for what an instant brought before the record at ``offset`` was applied,
    ``event`` for what that record itself brought.
    """

    offset: int
    by: Cause


class MembershipChanged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A customer entered a segment or left it.

    ``at`` is the logical time of the place, ``revision`` that of the segment's definition.
    ``caused_by`` is the event's id, ``time`` for an instant, ``definition`` for a build.
    """

    customer: str
    segment: str
    change: Literal["entered", "left"]
    at: datetime
    revision: int
    caused_by: str
    place: Place
