"""/openapi.json and /asyncapi.json, open to all."""

from services.api.call import Call, Reply
from services.api.routes import Answers, Route

TAG = "Descriptions"


async def get_openapi(call: Call) -> Reply:
    """The HTTP surface."""
    return Reply(raw=call.api.openapi)


async def get_asyncapi(call: Call) -> Reply:
    """The log."""
    return Reply(raw=call.api.asyncapi)


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/openapi.json",
        tag=TAG,
        summary="This document",
        answers=Answers(description="OpenAPI 3.1.", kind=dict[str, object]),
        call=get_openapi,
    ),
    Route(
        method="GET",
        path="/asyncapi.json",
        tag=TAG,
        summary="The topics of the log and their records",
        answers=Answers(description="AsyncAPI 3.", kind=dict[str, object]),
        call=get_asyncapi,
    ),
)
