"""Deliveries: what is owed to endpoints, what became of it, and beginning it anew."""

from collections.abc import Awaitable
from functools import partial
from typing import Annotated, Final, TypeVar

import msgspec
from pydantic import Field

from contracts.definitions.fields import DefinitionName, Document, ExactInstant
from contracts.identifiers import EventId
from services.api.call import (
    CURSOR,
    LIMIT,
    Call,
    Page,
    Reply,
    missing,
    page,
    page_of,
    read_cursor,
    read_instant,
)
from services.api.people import CUSTOMER, find_customer, known_customer
from services.api.routes import Answers, Body, Param, PathParam, Route
from services.dispatcher import queries
from services.dispatcher.deliveries import DeliveryState
from services.dispatcher.errors import (
    EndpointDisabledError,
    NotRedrivableError,
    UnknownDeliveryError,
)
from services.dispatcher.queries import After, Attempt, Delivery, DeliveryFilter
from services.runtime.postgres import Session
from services.runtime.problems import ProblemError, conflict

TAG: Final = "Deliveries"
DELIVERY = PathParam(name="delivery", description="Id of a delivery.", example="dlv_0")
ENDPOINT = Param(name="endpoint", description="To this endpoint.")
STATE = Param(name="state", description="In this state.", choices=queries.STATES)
EVENT = Param(name="event", description="Caused by this event.")
FOR_CUSTOMER = Param(name="customer", description="Of this customer: an id or a `source_id`.")

T = TypeVar("T")


class DeliveryView(Delivery, frozen=True, kw_only=True):
    """A delivery with its attempts, oldest first, and the body that is sent."""

    attempts: tuple[Attempt, ...]
    body: msgspec.Raw


class RedriveDocument(Document):
    """Which deliveries begin anew: exhausted and disabled ones where no state is named."""

    endpoint: DefinitionName | None = None
    state: DeliveryState | None = None
    created_from: Annotated[ExactInstant | None, Field(alias="from")] = None
    created_to: Annotated[ExactInstant | None, Field(alias="to")] = None


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries begin anew."""

    redriven: int


async def list_deliveries(call: Call) -> Reply:
    """Deliveries by endpoint, state, event and customer."""
    state, event = _state(call), call.text("event")
    customer = None
    if (text := call.text("customer")) is not None:
        async with call.session() as session:
            customer = await find_customer(session, call.workspace, text)
        if customer is None:
            return page([])
    wanted = DeliveryFilter(
        endpoint=call.text("endpoint"),
        state=state,
        event=None if event is None else EventId(event),
        customer=customer,
        created_from=call.time("from"),
        created_to=call.time("to"),
    )
    return await _page(call, wanted)


async def list_deliveries_of_customer(call: Call) -> Reply:
    """A customer's deliveries."""
    async with call.session() as session:
        customer = await known_customer(session, call.workspace, call.path["customer"])
    return await _page(call, DeliveryFilter(customer=customer, state=_state(call)))


async def _page(call: Call, wanted: DeliveryFilter) -> Reply:
    limit = call.limit()
    async with call.session() as session:
        found = await queries.find_deliveries(
            session, call.workspace, wanted, limit=limit + 1, after=_after(call)
        )
    return page_of(found, limit, lambda each: (each.created_at.isoformat(), each.id))


def _after(call: Call) -> After | None:
    cursor = call.text("cursor")
    if cursor is None:
        return None
    at, delivery = read_cursor(cursor, str, str)
    return After(created_at=read_instant(str(at)), id=str(delivery))


def _state(call: Call) -> DeliveryState | None:
    return next((each for each in queries.STATES if each == call.text("state")), None)


async def get_delivery(call: Call) -> Reply:
    """One delivery with its attempts."""
    async with call.session() as session:
        found = await _translated(
            queries.find_delivery(session, call.workspace, call.path["delivery"])
        )
    plain = {name: getattr(found.delivery, name) for name in Delivery.__struct_fields__}
    return Reply(value=DeliveryView(**plain, attempts=found.attempts, body=found.body))


async def redrive_delivery(call: Call) -> Reply:
    """Begin a delivery's schedule anew."""
    async with call.session() as session:
        found = await _translated(queries.redrive(session, call.workspace, call.path["delivery"]))
    return Reply(value=found)


async def redrive_deliveries(call: Call) -> Reply:
    """Begin the schedules of many deliveries anew."""
    document = call.document(RedriveDocument)
    wanted = DeliveryFilter(
        endpoint=document.endpoint,
        state=document.state,
        created_from=document.created_from,
        created_to=document.created_to,
    )
    name = document.endpoint
    async with call.session() as session:
        if name is not None and not await _stands(call, session, name):
            raise missing(f"endpoint {name}")
        count = await _translated(queries.redrive_all(session, call.workspace, wanted))
    return Reply(value=Redriven(redriven=count))


async def _stands(call: Call, session: Session, endpoint: str) -> bool:
    found = await call.api.compiled.load_one(session, call.workspace, "endpoint", endpoint)
    return found is not None


async def _translated(answer: Awaitable[T]) -> T:
    """Turn the dispatcher's refusals into problems."""
    try:
        return await answer
    except UnknownDeliveryError as error:
        raise missing("such delivery") from error
    except EndpointDisabledError as error:
        detail = f"The endpoint {error} is disabled; enable it first."
        raise ProblemError(conflict(detail, slug="endpoint-disabled")) from error
    except NotRedrivableError as error:
        raise ProblemError(conflict("An attempt is running; ask again after it.")) from error


_FILTERS = (
    ENDPOINT,
    STATE,
    EVENT,
    FOR_CUSTOMER,
    Param(name="from", description="Created at this time or later.", form="time"),
    Param(name="to", description="Created before this time.", form="time"),
    LIMIT,
    CURSOR,
)
_read = partial(Route, method="GET", tag=TAG, scopes=("customers:read",), projection="dispatcher")

ROUTES: tuple[Route, ...] = (
    _read(
        path="/v1/deliveries",
        summary="List deliveries",
        query=_FILTERS,
        answers=Answers(description="Newest first.", kind=Page[Delivery]),
        call=list_deliveries,
    ),
    _read(
        path="/v1/deliveries/{delivery}",
        summary="Read a delivery with its attempts",
        path_params=(DELIVERY,),
        answers=Answers(description="The delivery.", kind=DeliveryView),
        call=get_delivery,
    ),
    Route(
        method="POST",
        path="/v1/deliveries/{delivery}/redrive",
        tag=TAG,
        summary="Begin a delivery anew",
        scopes=("operations",),
        path_params=(DELIVERY,),
        answers=Answers(description="The delivery, pending again.", kind=Delivery),
        problems=(409,),
        call=redrive_delivery,
    ),
    Route(
        method="POST",
        path="/v1/deliveries/redrive",
        tag=TAG,
        summary="Begin many deliveries anew",
        scopes=("operations",),
        body=Body(description="Which deliveries.", document=RedriveDocument),
        answers=Answers(description="How many.", kind=Redriven),
        problems=(409,),
        call=redrive_deliveries,
    ),
    _read(
        path="/v1/customers/{customer}/deliveries",
        summary="List a customer's deliveries",
        path_params=(CUSTOMER,),
        query=(STATE, LIMIT, CURSOR),
        answers=Answers(description="Newest first.", kind=Page[Delivery]),
        call=list_deliveries_of_customer,
    ),
)
