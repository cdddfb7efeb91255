"""Whether a changed event type still takes what is stored under its name.

Guarantee: a change passes when it is proven to refuse nothing that the old form took, or when every
stored event was looked at and is taken. Otherwise it is refused with examples, or with what it may
refuse where there are more events than are looked at.
"""

from collections.abc import Sequence
from typing import Final

from contracts.definitions.event_types import EventType, compatible
from contracts.errors import Fault
from contracts.places import Position
from contracts.topics import CUSTOMER_EVENTS
from projections.customers.queries import LIMIT_MAX, StoredEvent, list_events
from services.api.call import Call
from services.api.definitions.planning import Change, Plan
from services.api.progress import Generation, NoReadModelError
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict, unavailable

EVENTS_MAX: Final = 10_000
"""Stored events of one type that are looked at: about a second."""
EXAMPLES_MAX: Final = 10
"""Stored events named as examples."""
BEHIND_SECONDS: Final = 2.0
"""How long to wait for the read model to know every event accepted so far."""


async def check_stored_events(call: Call, session: Session, plan: Plan) -> None:
    """Raise ``ProblemError`` 409 ``incompatible-schema``, or 503 where it cannot be known yet."""
    unproven = list(plan.event_type_changes())
    if not unproven:
        return
    live = await _up_to_date(call, session)
    faults: list[Fault] = []
    for change, old, new in unproven:
        faults += await _faults(call, session, live, change, old, new)
    if faults:
        raise ProblemError(
            conflict(
                "The event type would refuse events that are stored; "
                "compatibility=none changes it all the same.",
                slug="incompatible-schema",
                errors=faults,
            )
        )


async def _up_to_date(call: Call, session: Session) -> Generation | None:
    """The read model of events, once it has passed every record; None where there is no record.

    Raises:
        ProblemError: 503, it has not passed them in time.
    """
    ends = await call.api.log.ends(CUSTOMER_EVENTS, range(call.api.settings.partitions))
    last = [Position(CUSTOMER_EVENTS, each, end - 1) for each, end in ends.items() if end]
    if not last:
        return None
    behind = ProblemError(
        unavailable(
            "The stored events are not all known yet; try again, or say compatibility=none.",
            slug="projection-behind",
        )
    )
    try:
        live = await call.api.progress.live(session, "customers")
    except NoReadModelError as error:
        raise behind from error
    if not await call.api.progress.wait("customers", last, BEHIND_SECONDS):
        raise behind
    return live


async def _faults(
    call: Call,
    session: Session,
    live: Generation | None,
    change: Change,
    old: EventType,
    new: EventType,
) -> list[Fault]:
    if live is None:
        return []
    examples: list[Fault] = []
    seen, cursor = 0, None
    while seen < EVENTS_MAX:
        found = await list_events(
            session, live.schema, call.workspace, event=change.name, limit=LIMIT_MAX, cursor=cursor
        )
        for event in found.data:
            examples += _refusals(event, change, old, new)
            if len(examples) >= EXAMPLES_MAX:
                return examples[:EXAMPLES_MAX]
        seen, cursor = seen + len(found.data), found.next_cursor
        if cursor is None:
            return examples
    return examples or _unproven(change, compatible(old, new))


def _refusals(event: StoredEvent, change: Change, old: EventType, new: EventType) -> list[Fault]:
    """Why the new form refuses a stored event, sealed properties left out: they cannot be read."""
    sealed = {f"/metadata/{name}" for name in old.pii_fields}
    found = [
        fault for fault in new.validator.validate(event.metadata) if fault.pointer not in sealed
    ]
    return [
        Fault(
            pointer=change.pointer,
            code=fault.code,
            detail=f"refuses {event.id}: {fault.pointer} {fault.detail}",
        )
        for fault in found[:1]
    ]


def _unproven(change: Change, faults: Sequence[Fault]) -> list[Fault]:
    return [
        Fault(pointer=change.pointer + fault.pointer, code=fault.code, detail=fault.detail)
        for fault in faults
    ]
