"""Warnings reach the console, a few of each child; the rest stays in the files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from services.stack import log_watch
from services.stack.log_watch import LogWatch
from tests.support.eventually import eventually

WARNING = '{"event": "The broker is away", "level": "warning", "logger": "services.api"}\n'
INFO = '{"event": "A partition was assigned", "level": "info", "logger": "services.api"}\n'
FOREIGN = '{"event": "Connection closed", "level": "error", "logger": "aiokafka.conn"}\n'


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
async def log(shown: list[str], tmp_path: Path) -> AsyncGenerator[Path]:
    file = tmp_path / "api.log"
    file.write_text(WARNING)
    watch = LogWatch(shown.append)
    watch.add("api", file)
    following = asyncio.create_task(watch.follow())
    yield file
    following.cancel()


async def test_a_warning_is_shown_and_an_info_is_not(log: Path, shown: list[str]) -> None:
    with log.open("a") as lines:
        lines.write(INFO + FOREIGN + "Traceback: not in our form\n" + WARNING)

    await eventually(lambda: len(shown) > 0)

    assert shown == ["api: The broker is away"]


async def test_of_many_warnings_a_few_are_shown_and_the_rest_counted(
    log: Path, shown: list[str]
) -> None:
    with log.open("a") as lines:
        lines.write(WARNING * 100)

    await eventually(lambda: len(shown) > 0)

    assert len(shown) == 4
    assert shown[-1] == "api: and 97 more such lines"


async def test_a_line_is_shown_when_it_is_whole(log: Path, shown: list[str]) -> None:
    with log.open("a") as lines:
        lines.write(WARNING + WARNING[:20])
        lines.flush()
        await eventually(lambda: len(shown) == 1)
        lines.write(WARNING[20:])

    await eventually(lambda: len(shown) == 2)

    assert shown == ["api: The broker is away"] * 2


async def test_a_log_grown_large_is_cut_and_followed_on(
    log: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_watch, "FILE_BYTES_MAX", 10 * len(WARNING))
    with log.open("a") as lines:
        lines.write(WARNING * 20)
        lines.flush()
        await eventually(lambda: log.stat().st_size == 0)
        shown.clear()

        lines.write(WARNING)

    await eventually(lambda: shown == ["api: The broker is away"])
    assert log.with_suffix(".log.1").read_text() == WARNING * 21
