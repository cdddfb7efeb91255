"""Reading customers, their timelines, and events."""

from functools import partial
from typing import Final

from projections.customers import queries
from projections.customers.queries import (
    ActivityPage,
    CustomerPage,
    CustomerProfile,
    EventPage,
    StoredEvent,
)
from services.api.call import CURSOR, LIMIT, Call, Reply, missing
from services.api.people import CUSTOMER, known_customer
from services.api.routes import Answers, Param, PathParam, Route

TAG: Final = "Customers"
EVENTS_TAG: Final = "Events"
EVENT: Final = PathParam(
    name="event", description="Id of an event.", example="event_00000000000000000000000000000000"
)


async def get_customer(call: Call) -> Reply:
    """A customer's profile as merged so far."""
    async with call.session() as session:
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "customers")
        found = await queries.find_customer(session, live.schema, call.workspace, customer)
    if found is None:
        raise missing("such customer")
    return Reply(value=found)


async def list_customers(call: Call) -> Reply:
    """Customers by email."""
    email = call.text("email")
    assert email is not None, "the table says that it is required"
    async with call.session() as session:
        live = await call.api.progress.live(session, "customers")
        found = await queries.find_customers_by_email(
            session,
            live.schema,
            call.workspace,
            email,
            limit=call.limit(),
            cursor=call.text("cursor"),
        )
    return Reply(value=found)


async def list_customer_activity(call: Call) -> Reply:
    """A customer's timeline, newest first."""
    async with call.session() as session:
        customer = await known_customer(session, call.workspace, call.path["customer"])
        live = await call.api.progress.live(session, "customers")
        found = await queries.activity(
            session,
            live.schema,
            call.workspace,
            customer,
            kind=call.text("kind"),
            limit=call.limit(),
            cursor=call.text("cursor"),
        )
    return Reply(value=found)


async def get_event(call: Call) -> Reply:
    """One event as it stands."""
    async with call.session() as session:
        live = await call.api.progress.live(session, "customers")
        found = await queries.find_event(session, live.schema, call.workspace, call.path["event"])
    if found is None:
        raise missing("such event")
    return Reply(value=found)


async def list_events(call: Call) -> Reply:
    """Events by when they occurred, newest first."""
    async with call.session() as session:
        live = await call.api.progress.live(session, "customers")
        found = await queries.list_events(
            session,
            live.schema,
            call.workspace,
            event=call.text("event"),
            customer=call.text("customer"),
            external_id=call.text("external_id"),
            since=call.time("from"),
            until=call.time("to"),
            limit=call.limit(),
            cursor=call.text("cursor"),
        )
    return Reply(value=found)


_read = partial(Route, method="GET", scopes=("customers:read",), projection="customers")

ROUTES: tuple[Route, ...] = (
    _read(
        path="/v1/customers",
        tag=TAG,
        summary="Find customers by email",
        query=(
            Param(name="email", description="Compared without case.", required=True),
            LIMIT,
            CURSOR,
        ),
        answers=Answers(description="The first created first.", kind=CustomerPage),
        call=list_customers,
    ),
    _read(
        path="/v1/customers/{customer}",
        tag=TAG,
        summary="Read a customer",
        path_params=(CUSTOMER,),
        answers=Answers(description="The profile as merged so far.", kind=CustomerProfile),
        call=get_customer,
    ),
    _read(
        path="/v1/customers/{customer}/activity",
        tag=TAG,
        summary="List a customer's timeline",
        path_params=(CUSTOMER,),
        query=(
            Param(name="kind", description="Only entries of this kind."),
            LIMIT,
            CURSOR,
        ),
        answers=Answers(description="Newest first.", kind=ActivityPage),
        call=list_customer_activity,
    ),
    _read(
        path="/v1/events",
        tag=EVENTS_TAG,
        summary="List events",
        query=(
            Param(name="event", description="Only of this type."),
            Param(name="customer", description="Only of this customer: an id or a `source_id`."),
            Param(name="external_id", description="Only what the producer named so."),
            Param(name="from", description="Occurred at this time or later.", form="time"),
            Param(name="to", description="Occurred at this time or earlier.", form="time"),
            LIMIT,
            CURSOR,
        ),
        answers=Answers(description="Newest first, by when they occurred.", kind=EventPage),
        call=list_events,
    ),
    _read(
        path="/v1/events/{event}",
        tag=EVENTS_TAG,
        summary="Read an event with the outcome of its latest version",
        path_params=(EVENT,),
        answers=Answers(description="The event as it stands.", kind=StoredEvent),
        call=get_event,
    ),
)
