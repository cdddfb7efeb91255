# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUntypedFunctionDecorator=false, reportMissingTypeArgument=false
# pyright: reportUnknownArgumentType=false, reportGeneralTypeIssues=false
"""The other peer of the kernel: a plain Faust agent that sums by key in a dict.

The dict dies with the process and nothing ties it to the offsets, so this is less work than a
store with effects once; Faust's own tables lose data (see README). Arguments: bootstrap servers,
application id, topic, records to sum, data folder, and ``plain`` or ``nested``: where in a record
the amount stands, at the top or in ``data.metadata``. The clock runs from the first event to the
last summed; Faust commits in the background.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faust
import msgspec

STANDARD_OUTPUT = 1  # sys.stdout is redirected into the log by the worker


class Purchase(msgspec.Struct, frozen=True):
    amount: int


class Event(msgspec.Struct, frozen=True):
    metadata: Purchase


class Record(msgspec.Struct, frozen=True):
    """The part of a CloudEvent that is summed."""

    data: Event


_decode_plain = msgspec.json.Decoder(Purchase).decode
_decode_nested = msgspec.json.Decoder(Record).decode


def plain(value: bytes) -> int:
    """The amount of a purchase."""
    return _decode_plain(value).amount


def nested(value: bytes) -> int:
    """The amount in a CloudEvent."""
    return _decode_nested(value).data.metadata.amount


class Summing:
    """The sums so far and the clock."""

    def __init__(self, records: int) -> None:
        self.records = records
        self.seen = 0
        self.sums: dict[bytes, int] = {}
        self.first_at = 0.0
        self.half_at = 0.0

    def add(self, key: bytes, amount: int) -> bool:
        """Add one amount; True at the last record."""
        if self.seen == 0:
            self.first_at = time.monotonic()
        self.sums[key] = self.sums.get(key, 0) + amount
        self.seen += 1
        if self.seen == self.records // 2:
            self.half_at = time.monotonic()
        return self.seen == self.records

    def line(self) -> bytes:
        now = time.monotonic()
        printed = {
            "records": self.seen,
            "seconds": now - self.first_at,
            "second_half_seconds": now - self.half_at,
            "sum": sum(self.sums.values()),
        }
        return msgspec.json.encode(printed)


def application(
    kafka: str, name: str, topic: str, records: int, folder: Path, amount: Callable[[bytes], int]
) -> faust.App:
    """A Faust app whose one agent sums the topic and then stops the worker."""
    app = faust.App(
        name,
        broker=f"kafka://{kafka}",
        datadir=str(folder),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
    )
    source = app.topic(topic, key_serializer="raw", value_serializer="raw")
    summing = Summing(records)

    @app.agent(source)
    async def sum_by_key(events: faust.StreamT) -> None:
        async for event in events.events():
            if summing.add(event.key, amount(event.value)):
                os.write(STANDARD_OUTPUT, b"\n" + summing.line() + b"\n")
                signal.raise_signal(signal.SIGTERM)

    return app


if __name__ == "__main__":
    kafka, name, topic, records, folder, form = sys.argv[1:7]
    amount = nested if form == "nested" else plain
    app = application(kafka, name, topic, int(records), Path(folder), amount)
    faust.Worker(app, loglevel="WARNING", quiet=True, workdir=folder).execute_from_commandline()
