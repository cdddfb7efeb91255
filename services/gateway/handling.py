"""What a path's handler gets and gives."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct
from starlette.types import Receive

from services.gateway.bodies import Bodies
from services.gateway.replies import Reply


class Call(Struct, frozen=True, kw_only=True, gc=False):
    """A request that was let in; its body is still to be read.

    ``headers`` are those that any path of the gateway's own understands.
    """

    workspace: str
    headers: Sequence[tuple[bytes, bytes]]
    query: bytes
    receive: Receive
    bodies: Bodies
    request_id: str


Handler = Callable[[Call], Awaitable[Reply]]
"""Serves a call; raises what ``errors.problem_of`` knows."""
