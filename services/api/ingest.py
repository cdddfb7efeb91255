"""The gateway's routes, for the OpenAPI document: they are served there, not here."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from contracts.errors import Fault
from services.api.routes import JSON, NDJSON, Answers, Body, Param, Route
from services.gateway.answers import ChangedCustomerAnswer, EventAnswer
from services.gateway.bounds import BATCH_BYTES_MAX, EVENT_BYTES_MAX, ID_CHARACTERS_MAX
from services.runtime.problems import ProblemDocument

TAG: Final = "Events"


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a batch: ``id`` and ``position`` of an accepted one, or its ``problem``."""

    index: int
    id: str | UnsetType = UNSET
    position: str | UnsetType = UNSET
    warnings: list[Fault] | UnsetType = UNSET
    problem: ProblemDocument | UnsetType = UNSET


class BatchResults(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each event of a batch, by index."""

    accepted: int
    refused: int
    results: list[BatchResult]


POSITION = (
    "Upshot-Position",
    "Where the records stand in the log, comma-separated: `topic/partition/offset`.",
)
REVISION = Param(
    name="Upshot-Definitions-Revision",
    description="Judge by this revision of the definitions or a newer one.",
    form="integer",
    most=2**53,
)
HISTORICAL = Param(
    name="historical",
    description="Count in timeline and conditions, but earn, convert and send nothing.",
    form="boolean",
)

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/events",
        tag=TAG,
        summary="Send an event",
        scopes=("events:write",),
        query=(
            Param(
                name="dry_run",
                description="Validate, and append nothing.",
                form="boolean",
            ),
            HISTORICAL,
        ),
        headers=(
            Param(
                name="Idempotency-Key",
                description="The event's `id`, quoted or bare.",
                chars_max=ID_CHARACTERS_MAX,
            ),
            REVISION,
        ),
        body=Body(
            description="The event.", schema="Event", media=(JSON,), bytes_max=EVENT_BYTES_MAX
        ),
        answers=Answers(
            description="The event stands in the log.", kind=EventAnswer, headers=(POSITION,)
        ),
        served_by="gateway",
    ),
    Route(
        method="POST",
        path="/v1/events/batch",
        tag=TAG,
        summary="Send many events",
        scopes=("events:write",),
        query=(
            Param(
                name="results",
                description="`refused` lists only what was refused.",
                choices=("all", "refused"),
            ),
            HISTORICAL,
        ),
        headers=(REVISION,),
        body=Body(
            description="1 to 10,000 events: an array, `{events: […]}`, or one a line. "
            "gzip is taken.",
            schema="EventBatch",
            media=(JSON, NDJSON),
            bytes_max=BATCH_BYTES_MAX,
        ),
        answers=Answers(
            description="What became of each, by index.", kind=BatchResults, headers=(POSITION,)
        ),
        served_by="gateway",
    ),
    Route(
        method="POST",
        path="/v1/customers",
        tag="Customers",
        summary="Upsert and identify a customer",
        scopes=("customers:write",),
        headers=(REVISION,),
        body=Body(description="The customer.", schema="Customer", bytes_max=EVENT_BYTES_MAX),
        answers=Answers(
            description="The customer as told.", kind=ChangedCustomerAnswer, headers=(POSITION,)
        ),
        served_by="gateway",
    ),
)
