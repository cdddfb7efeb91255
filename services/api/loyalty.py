"""Reading ledgers: members, their entries, what an event earned, a program's totals."""

from typing import Final

import msgspec

from contracts.definitions.loyalty_programs import LoyaltyProgram
from contracts.errors import refuse
from contracts.identifiers import FactKey, key_of_event_id
from projections.loyalty import queries
from projections.loyalty.queries import CursorError, EntryView, MemberView, Totals
from services.api.call import CURSOR, LIMIT, Call, Reply, missing, page
from services.api.people import CUSTOMER, known_customer
from services.api.routes import Answers, PathParam, Route
from services.runtime.access import Scope
from services.runtime.postgres import Session

TAG: Final = "Loyalty"
PROGRAM = PathParam(name="program", description="Name of a loyalty program.", example="rewards")
EVENT = PathParam(
    name="event", description="Id of an event.", example="event_00000000000000000000000000000000"
)


class EntriesPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a member's entries, newest first."""

    data: list[EntryView]
    next_cursor: str | None
    object: str = "list"


class MembersPage(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's membership in every program."""

    data: list[MemberView]
    next_cursor: str | None
    object: str = "list"


async def _check_program(call: Call, session: Session) -> str:
    """The program's name; raises ``ProblemError`` 404 where it is not defined."""
    name = call.path["program"]
    kind = "loyalty_program"
    found = await call.api.compiled.load_one(session, call.workspace, kind, name)
    if found is None or not isinstance(found.definition, LoyaltyProgram):
        raise missing(f"loyalty program {name}")
    return name


async def get_totals(call: Call) -> Reply:
    """A program's totals: issued = held + spent + expired."""
    async with call.session() as session:
        program = await _check_program(call, session)
        live = await call.api.progress.live(session, "loyalty")
        found = await queries.totals(session, live.schema, call.workspace, program)
    return Reply(value=found)


async def get_member(call: Call) -> Reply:
    """A customer's points in a program; without entries they are zeros."""
    async with call.session() as session:
        program = await _check_program(call, session)
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "loyalty")
        found = await queries.member(session, live.schema, call.workspace, customer, program)
    return Reply(value=found)


async def list_entries(call: Call) -> Reply:
    """A member's entries, newest first."""
    async with call.session() as session:
        program = await _check_program(call, session)
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "loyalty")
        try:
            found = await queries.entries(
                session,
                live.schema,
                call.workspace,
                customer,
                program,
                limit=call.limit(),
                cursor=call.text("cursor"),
            )
        except CursorError as error:
            raise refuse("/query/cursor", "cursor", "is not a next_cursor of this list") from error
    return page(list(found.entries), found.next_cursor)


async def list_entries_of_event(call: Call) -> Reply:
    """What an event caused in a member's ledger, in order."""
    async with call.session() as session:
        program = await _check_program(call, session)
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "loyalty")
        found = await queries.entries_of_event(
            session, live.schema, call.workspace, customer, program, fact_of(call.path["event"])
        )
    return page(list(found), None)


async def list_memberships(call: Call) -> Reply:
    """The programs in which a customer has entries."""
    async with call.session() as session:
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "loyalty")
        found = await queries.members_of(session, live.schema, call.workspace, customer)
    return page(list(found), None)


def fact_of(event: str) -> FactKey:
    """The key of an event's id; raises ``ProblemError`` 404 where the text is no event id."""
    try:
        return key_of_event_id(event)
    except ValueError as error:
        raise missing("such event") from error


_READ: tuple[Scope, ...] = ("customers:read",)
_MEMBER = "/v1/loyalty/{program}/members/{customer}"

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/loyalty/{program}",
        tag=TAG,
        summary="Read a program's totals",
        scopes=_READ,
        path_params=(PROGRAM,),
        answers=Answers(description="issued = held + spent + expired.", kind=Totals),
        problems=(404,),
        projection="loyalty",
        call=get_totals,
    ),
    Route(
        method="GET",
        path=_MEMBER,
        tag=TAG,
        summary="Read a member's points",
        scopes=_READ,
        path_params=(PROGRAM, CUSTOMER),
        answers=Answers(description="Zeros where there is no entry.", kind=MemberView),
        problems=(404,),
        projection="loyalty",
        call=get_member,
    ),
    Route(
        method="GET",
        path=f"{_MEMBER}/entries",
        tag=TAG,
        summary="List a member's ledger entries",
        scopes=_READ,
        path_params=(PROGRAM, CUSTOMER),
        query=(LIMIT, CURSOR),
        answers=Answers(description="Newest first.", kind=EntriesPage),
        problems=(404,),
        projection="loyalty",
        call=list_entries,
    ),
    Route(
        method="GET",
        path=f"{_MEMBER}/events/{{event}}/entries",
        tag=TAG,
        summary="List the entries that an event caused",
        scopes=_READ,
        path_params=(PROGRAM, CUSTOMER, EVENT),
        answers=Answers(description="In the order of the ledger.", kind=EntriesPage),
        problems=(404,),
        projection="loyalty",
        call=list_entries_of_event,
    ),
    Route(
        method="GET",
        path="/v1/customers/{customer}/loyalty",
        tag=TAG,
        summary="List a customer's memberships",
        scopes=_READ,
        path_params=(CUSTOMER,),
        answers=Answers(description="Programs with entries.", kind=MembersPage),
        problems=(404,),
        projection="loyalty",
        call=list_memberships,
    ),
)
