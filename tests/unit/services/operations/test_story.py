"""The story shows what an event caused, once, and stays readable under load."""

from __future__ import annotations

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from services.operations.screen import Screen
from services.operations.story import LINES_PER_SECOND_MAX, Happening, Story
from services.stack.local_api import LocalApi
from services.stack.receiver import News, Received, Subject


@pytest.fixture
def shown() -> StringIO:
    return StringIO()


@pytest.fixture
def story(shown: StringIO) -> Story:
    api = LocalApi("http://127.0.0.1:9", "key")
    return Story(Console(file=shown, width=200), api, Screen())


def test_a_webhook_is_shown_with_its_cause(story: Story, shown: StringIO) -> None:
    story.show_webhook(_received(1))

    assert "webhook" in shown.getvalue()
    assert "msg_1, signature good  <- event_1" in shown.getvalue()


def test_under_load_the_story_is_a_sample(story: Story, shown: StringIO) -> None:
    for number in range(50 * LINES_PER_SECOND_MAX):
        story.show_webhook(_received(number))

    seconds_at_most = 10
    assert len(shown.getvalue().splitlines()) <= (LINES_PER_SECOND_MAX + 1) * seconds_at_most


def test_a_program_gets_every_line_as_json(
    shown: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    api, lines = LocalApi("http://127.0.0.1:9", "key"), 2 * LINES_PER_SECOND_MAX
    story = Story(Console(file=shown, width=200), api, Screen(as_json=True))

    for number in range(lines):
        story.show_webhook(_received(number))

    told = [
        msgspec.json.decode(line, type=Happening) for line in capsys.readouterr().out.splitlines()
    ]
    assert [each.caused_by for each in told] == [f"event_{number}" for number in range(lines)]
    assert {each.what for each in told} == {"webhook"}


def _received(number: int) -> Received:
    return Received(
        id=f"msg_{number}",
        type="customer.custom_event",
        timestamp="2026-11-21T09:30:00Z",
        data=News(customer=Subject(id="cust_1"), event=Subject(id=f"event_{number}")),
    )
