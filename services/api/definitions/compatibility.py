"""Whether a changed event type still takes what is stored under its name.

Guarantee: a change passes when it is proven to refuse nothing that the old form took; otherwise it
is refused with what it may refuse.
"""

from contracts.definitions.event_types import compatible
from services.api.call import Call
from services.api.definitions.planning import Plan
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict


async def check_stored_events(_call: Call, _session: Session, plan: Plan) -> None:
    """Raise ``ProblemError`` 409 ``incompatible-schema`` with every fault."""
    faults = [fault for _, old, new in plan.event_type_changes() for fault in compatible(old, new)]
    if faults:
        raise ProblemError(
            conflict(
                "The event type may refuse events that its old form took.",
                slug="incompatible-schema",
                errors=faults,
            )
        )
