# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
"""The peer of the gateway: a Starlette handler that appends the raw body and awaits the broker.

No validation, identity, sealing or CloudEvents; the same durability (idempotent, acks=all).
Arguments: port, bootstrap servers, topic.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application(kafka: str, topic: str) -> Starlette:
    """An application that appends every body posted to `/events`."""
    producers: list[AIOKafkaProducer] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
        await producer.start()
        producers.append(producer)
        yield
        await producer.stop()

    async def append(request: Request) -> Response:
        body = await request.body()
        await producers[0].send_and_wait(topic, body)
        return Response(b'{"ok":true}', media_type="application/json")

    return Starlette(routes=[Route("/events", append, methods=["POST"])], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[2], sys.argv[3]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
