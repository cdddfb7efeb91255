"""Reading ledgers: members, their entries, what an event earned, a program's totals."""

from functools import partial
from typing import Final

from contracts.definitions.loyalty_programs import LoyaltyProgram
from contracts.errors import refuse
from contracts.identifiers import FactKey, key_of_event_id
from projections.loyalty import queries
from projections.loyalty.queries import CursorError, EntryView, MemberView, Totals
from services.api.call import CURSOR, LIMIT, Call, Page, Reply, missing, page
from services.api.customers import EVENT
from services.api.people import CUSTOMER, known_customer
from services.api.routes import Answers, PathParam, Route
from services.runtime.postgres import Session

TAG: Final = "Loyalty"
PROGRAM = PathParam(name="program", description="Name of a loyalty program.", example="rewards")


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
    return page(found.entries, found.next_cursor)


async def list_entries_of_event(call: Call) -> Reply:
    """What an event caused in a member's ledger, in order."""
    async with call.session() as session:
        program = await _check_program(call, session)
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "loyalty")
        found = await queries.entries_of_event(
            session, live.schema, call.workspace, customer, program, fact_of(call.path["event"])
        )
    return page(found)


async def list_memberships(call: Call) -> Reply:
    """The programs in which a customer has entries."""
    async with call.session() as session:
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "loyalty")
        found = await queries.members_of(session, live.schema, call.workspace, customer)
    return page(found)


def fact_of(event: str) -> FactKey:
    """The key of an event's id; raises ``ProblemError`` 404 where the text is no event id."""
    try:
        return key_of_event_id(event)
    except ValueError as error:
        raise missing("such event") from error


_MEMBER = "/v1/loyalty/{program}/members/{customer}"
_read = partial(Route, method="GET", tag=TAG, scopes=("customers:read",), projection="loyalty")

ROUTES: tuple[Route, ...] = (
    _read(
        path="/v1/loyalty/{program}",
        summary="Read a program's totals",
        path_params=(PROGRAM,),
        answers=Answers(description="issued = held + spent + expired.", kind=Totals),
        call=get_totals,
    ),
    _read(
        path=_MEMBER,
        summary="Read a member's points",
        path_params=(PROGRAM, CUSTOMER),
        answers=Answers(description="Zeros where there is no entry.", kind=MemberView),
        call=get_member,
    ),
    _read(
        path=f"{_MEMBER}/entries",
        summary="List a member's ledger entries",
        path_params=(PROGRAM, CUSTOMER),
        query=(LIMIT, CURSOR),
        answers=Answers(description="Newest first.", kind=Page[EntryView]),
        call=list_entries,
    ),
    _read(
        path=f"{_MEMBER}/events/{{event}}/entries",
        summary="List the entries that an event caused",
        path_params=(PROGRAM, CUSTOMER, EVENT),
        answers=Answers(description="In the order of the ledger.", kind=Page[EntryView]),
        call=list_entries_of_event,
    ),
    _read(
        path="/v1/customers/{customer}/loyalty",
        summary="List a customer's memberships",
        path_params=(CUSTOMER,),
        answers=Answers(description="Programs with entries.", kind=Page[MemberView]),
        call=list_memberships,
    ),
)
