"""Whether a workspace may have another clock.

Guarantee: a workspace goes on a test clock only before it has customers, and stays on it: from then
on every partition of the log goes by it.
"""

from typing import LiteralString

from contracts.definitions.workspaces import WorkspaceSettings
from services.api.definitions.clocks import shown
from services.api.definitions.planning import Plan
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict

_HAS_CUSTOMERS: LiteralString = """
SELECT EXISTS (SELECT FROM upshot.identities WHERE workspace = %(workspace)s)
    OR EXISTS (SELECT FROM upshot.customer_keys WHERE workspace = %(workspace)s)"""


async def check_clock(session: Session, workspace: str, plan: Plan) -> None:
    """Raise ``ProblemError`` 409 where the plan gives the workspace a clock that it cannot have."""
    for change in plan.changes:
        settings = change.definition
        if not isinstance(settings, WorkspaceSettings):
            continue
        was_on_test_clock = shown(change.was) is not None
        if was_on_test_clock and settings.clock == "system":
            raise stays_on_test_clock()
        if not was_on_test_clock and settings.clock == "test":
            await _check_is_empty(session, workspace)


def stays_on_test_clock() -> ProblemError:
    """409 of what would put a workspace back on the system clock."""
    return _fixed(
        "The workspace stays on its test clock, which every partition of the log goes by. Make"
        " another workspace for the system clock."
    )


async def _check_is_empty(session: Session, workspace: str) -> None:
    row = await (await session.execute(_HAS_CUSTOMERS, {"workspace": workspace})).fetchone()
    assert row is not None, "EXISTS answers one row"
    if row[0]:
        raise _fixed(
            "The workspace has customers: it can go on a test clock only before its first event."
            " Make another workspace for the test clock."
        )


def _fixed(detail: str) -> ProblemError:
    return ProblemError(conflict(detail, slug="clock-fixed"))
