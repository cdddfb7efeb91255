"""What the api asks of the log: ends of partitions, and when a record was appended.

Guarantee: every question has a deadline; a client that did not answer is replaced.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from services.runtime.kafka.consumer import Consumer
from services.runtime.kafka.errors import KafkaUnavailableError, LogGapError
from services.runtime.settings import Settings

ASK_SECONDS: Final = 3.0
"""How long one question to the broker may take."""
AWAY_SECONDS: Final = 1.0
"""After a question without an answer the next are refused for so long, not asked one by one."""
SCAN_SECONDS: Final = 10.0
"""How long looking through what was appended meanwhile may take."""
SCAN_RECORDS_MAX: Final = 5_000
"""Records read at once."""
PROBE_WAIT_MS: Final = 500
"""How long to wait for the one record that is looked at."""


class Log:
    """Asks the broker about topics, with one idle client for each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[str, Consumer] = {}
        self._asking = asyncio.Lock()
        self._away_until = 0.0

    async def ends(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """Offset after the last record of each partition.

        Raises:
            KafkaUnavailableError: no broker answered in time.
        """
        async with self._asking:
            if time.monotonic() < self._away_until:
                raise KafkaUnavailableError(topic)
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    client = await self._client(topic)
                    return await client.end_offsets(partitions)
            except (TimeoutError, KafkaUnavailableError) as error:
                await self._drop(topic)
                self._away_until = time.monotonic() + AWAY_SECONDS
                raise KafkaUnavailableError(topic) from error

    async def appended_at(self, topic: str, offsets: Mapping[int, int]) -> dict[int, datetime]:
        """When the record at each partition's offset was appended; what is not found is left out.

        Raises:
            KafkaUnavailableError: no broker answered in time.
        """
        if not offsets:
            return {}
        client = self._new(topic)
        found: dict[int, datetime] = {}
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await client.assign(dict(offsets))
                for partition in offsets:
                    with suppress(LogGapError):
                        records = await client.poll(
                            partition, records_max=1, timeout_ms=PROBE_WAIT_MS
                        )
                        found.update((partition, record.appended_at) for record in records)
        except TimeoutError:
            return found
        finally:
            await client.stop()
        return found

    async def has(
        self,
        topic: str,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        needle: bytes,
    ) -> bool:
        """Whether a record between two offsets of any partition has these bytes in its value.

        Raises:
            KafkaUnavailableError: no broker answered in time.
        """
        if not starts:
            return False
        client = self._new(topic)
        try:
            async with asyncio.timeout(SCAN_SECONDS):
                await client.assign(dict(starts))
                for partition, start in starts.items():
                    offset = start
                    while offset < ends[partition]:
                        for record in await client.poll(partition, records_max=SCAN_RECORDS_MAX):
                            if record.offset < ends[partition] and needle in record.value:
                                return True
                            offset = record.offset + 1
        except TimeoutError as error:
            raise KafkaUnavailableError(topic) from error
        finally:
            await client.stop()
        return False

    async def stop(self) -> None:
        """Close the clients."""
        for topic in list(self._clients):
            await self._drop(topic)

    async def _client(self, topic: str) -> Consumer:
        if topic not in self._clients:
            client = self._clients[topic] = self._new(topic)
            await client.assign({})
        return self._clients[topic]

    def _new(self, topic: str) -> Consumer:
        return Consumer(self._settings.kafka, topic, prefix=self._settings.topic_prefix)

    async def _drop(self, topic: str) -> None:
        client = self._clients.pop(topic, None)
        if client is not None:
            with suppress(TimeoutError, KafkaUnavailableError):
                async with asyncio.timeout(ASK_SECONDS):
                    await client.stop()
