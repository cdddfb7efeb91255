"""The api on real servers, with names of its own in them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
from pydantic import SecretStr

from services.api.app import App
from services.api.server import open_api
from services.api.state import Api
from services.api.table import ROUTES
from services.runtime.kafka.topics import ensure_topics
from services.runtime.settings import Settings
from tests.support.eventually import eventually
from tests.unit.api.asgi import Client

PARTITIONS = 3


class RunningApi(msgspec.Struct, frozen=True):
    api: Api
    admin: Client


@asynccontextmanager
async def running_api(kafka: str, database: str, prefix: str) -> AsyncGenerator[RunningApi]:
    secret = secrets.token_urlsafe()
    settings = Settings(
        kafka=kafka,
        postgres=database,
        topic_prefix=prefix,
        partitions=PARTITIONS,
        admin_key=SecretStr(secret),
        master_key=SecretStr("00" * 32),
    )
    await ensure_topics(kafka, prefix=prefix, partitions=PARTITIONS)
    async with open_api(settings) as api:
        client = Client(App(ROUTES, api), secret)

        async def ready() -> bool:
            return (await client.get("/readyz")).status == 200

        await eventually(ready)
        yield RunningApi(api, client)
