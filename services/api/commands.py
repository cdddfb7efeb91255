"""Commands on points over HTTP: adjusting a member's points, joining a program."""

from http import HTTPStatus
from typing import Annotated, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from contracts.decimals import exact_number
from contracts.definitions.fields import Document
from contracts.definitions.loyalty_programs import AWARD_MAX
from projections.loyalty.queries import Decided, EntryView, MemberView, Refused
from services.api.call import Call, Reply
from services.api.decisions import Adjust, Command, Join
from services.api.ingest import POSITION
from services.api.loyalty import PROGRAM, TAG
from services.api.people import CUSTOMER
from services.api.routes import Answers, Body, Param, Route
from services.gateway.options import idempotency_key
from services.runtime.problems import ProblemError, forbidden_by_rule

REASON_CHARS_MAX: Final = 500
"""Of a reason: a sentence or two; it stands in the log for ever."""
CUSTOMER_CHARS_MAX: Final = 255
IDEMPOTENCY_KEY: Final = Param(
    name="Idempotency-Key",
    description="Chosen by the client, 1 to 128 characters, quoted or bare: the same key with the "
    "same command has the same outcome and one effect.",
    required=True,
    blank_is_absent=True,
)


def _points(value: object) -> int:
    number = None if isinstance(value, bool) else exact_number(value)
    if not isinstance(number, int):
        raise PydanticCustomError("type", "is not a whole number of points")
    if not number or abs(number) > AWARD_MAX:
        raise PydanticCustomError(
            "range", "is zero or more than {most} either way", {"most": AWARD_MAX}
        )
    return number


SignedPoints = Annotated[
    int,
    BeforeValidator(_points),
    Field(json_schema_extra={"minimum": -AWARD_MAX, "maximum": AWARD_MAX, "not": {"const": 0}}),
]


class AdjustDocument(Document):
    """Points given by hand, or taken where negative."""

    points: SignedPoints
    reason: str | None = Field(
        default=None, min_length=1, max_length=REASON_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$"
    )


class JoinDocument(Document):
    """Who becomes a member: an id or ``source_id``."""

    customer: str = Field(min_length=1, max_length=CUSTOMER_CHARS_MAX)


async def adjust_points(call: Call) -> Reply:
    """Adjust a member's points by hand."""
    document = call.document(AdjustDocument)
    act = Adjust(points=document.points, reason=document.reason)
    return await _carry_out(call, call.path["customer"], act)


async def join_program(call: Call) -> Reply:
    """Make a customer a member."""
    return await _carry_out(call, call.document(JoinDocument).customer, Join())


async def _carry_out(call: Call, customer: str, act: Adjust | Join) -> Reply:
    key = call.text(IDEMPOTENCY_KEY.name)
    assert key is not None, "the route's table requires it"
    command = Command(
        workspace=call.workspace,
        program=call.path["program"],
        customer=customer,
        idempotency_key=idempotency_key(key.encode("latin-1")),
        at=call.started_at,
        act=act,
    )
    with call.api.commanding.seated(call.workspace):
        return _reply(await call.api.commands.carry_out(command))


def _reply(decided: Decided) -> Reply:
    if isinstance(decided.answer, Refused):
        refused = decided.answer
        raise ProblemError(forbidden_by_rule(refused.detail, slug=refused.slug))
    return Reply(value=decided.answer, headers=((POSITION[0], decided.position),))


_PROBLEMS: Final = (HTTPStatus.CONFLICT.value, HTTPStatus.UNPROCESSABLE_ENTITY.value)

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/loyalty/{program}/members/{customer}/adjust",
        tag=TAG,
        summary="Adjust a member's points",
        scopes=("loyalty:write",),
        path_params=(PROGRAM, CUSTOMER),
        headers=(IDEMPOTENCY_KEY,),
        body=Body(description="How many points, and why.", document=AdjustDocument),
        answers=Answers(
            description="The entry that was posted.", kind=EntryView, headers=(POSITION,)
        ),
        problems=_PROBLEMS,
        call=adjust_points,
    ),
    Route(
        method="POST",
        path="/v1/loyalty/{program}/members",
        tag=TAG,
        summary="Join a program",
        scopes=("loyalty:write",),
        path_params=(PROGRAM,),
        headers=(IDEMPOTENCY_KEY,),
        body=Body(description="Who joins.", document=JoinDocument),
        answers=Answers(
            description="The member, with the points of that moment.",
            kind=MemberView,
            headers=(POSITION,),
        ),
        problems=_PROBLEMS,
        call=join_program,
    ),
)
