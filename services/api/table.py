"""The route table: all there is, in the order of the OpenAPI document."""

from services.api import health, keys, workspaces
from services.api.definitions import routes as definitions
from services.api.routes import Route

ROUTES: tuple[Route, ...] = (
    *keys.ROUTES,
    *workspaces.ROUTES,
    *definitions.ROUTES,
    *health.ROUTES,
)
