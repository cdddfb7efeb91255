"""Names of definitions: ``[a-z0-9][a-z0-9_./-]{0,99}``, event types 1 to 300 characters."""

import re
from typing import Final, Literal

from contracts.errors import Fault

Kind = Literal["workspace", "event_type", "loyalty_program", "distribution", "endpoint"]

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_./-]{0,99}$"
EVENT_NAME_PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,300}$"

_NAME: Final = re.compile(NAME_PATTERN)
_EVENT_NAME: Final = re.compile(EVENT_NAME_PATTERN)


def check_name(kind: str, name: str, pointer: str) -> tuple[Fault, ...]:
    """The fault of a name that its kind does not allow, or nothing."""
    if kind == "event_type":
        allowed, form = _EVENT_NAME, "is not 1 to 300 characters without control characters"
    else:
        allowed, form = _NAME, "is not of the form [a-z0-9][a-z0-9_./-]{0,99}"
    if allowed.fullmatch(name):
        return ()
    return (Fault(pointer=pointer, code="name", detail=form),)
