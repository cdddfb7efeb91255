"""The route table: all there is, in the order of the OpenAPI document."""

import msgspec

from services.api import (
    activity,
    clock,
    commands,
    customers,
    deliveries,
    descriptions,
    endpoints,
    health,
    ingest,
    keys,
    loyalty,
    operations,
    projections,
    settled,
    workspaces,
)
from services.api.definitions import routes as definitions
from services.api.routes import Route
from services.api.waiting import WAIT_PARAMS


def _with_waiting(route: Route) -> Route:
    """Every read with a key can wait for a position."""
    if route.is_open or route.method != "GET":
        return route
    return msgspec.structs.replace(route, headers=(*route.headers, *WAIT_PARAMS))


ROUTES: tuple[Route, ...] = tuple(
    _with_waiting(route)
    for route in (
        *ingest.ROUTES,
        *keys.ROUTES,
        *workspaces.ROUTES,
        *clock.ROUTES,
        *definitions.ROUTES,
        *customers.ROUTES,
        *activity.ROUTES,
        *settled.ROUTES,
        *loyalty.ROUTES,
        *commands.ROUTES,
        *deliveries.ROUTES,
        *endpoints.ROUTES,
        *projections.ROUTES,
        *operations.ROUTES,
        *health.ROUTES,
        *descriptions.ROUTES,
    )
)
