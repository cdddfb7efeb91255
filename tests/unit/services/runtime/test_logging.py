"""A log line is one object: a constant sentence, its fields, and where it comes from."""

from __future__ import annotations

import logging
from collections.abc import Generator

import msgspec
import pytest

from services.runtime.logging import LogFormat, configure_logging, logger


@pytest.fixture(autouse=True)
def _restored() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_with_sentence_fields_and_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("gateway")

    logger("services.gateway").info("An append was refused", attempts=2)

    line = msgspec.json.decode(capsys.readouterr().err, type=dict[str, str | int])
    assert line["event"] == "An append was refused"
    assert (line["attempts"], line["process"], line["level"]) == (2, "gateway", "info")
    assert str(line["at"]).endswith("Z")


def test_a_dependency_logs_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("api")

    logging.getLogger("some.dependency").warning("it went %s", "wrong")

    line = msgspec.json.decode(capsys.readouterr().err, type=dict[str, str])
    assert (line["event"], line["process"], line["level"]) == ("it went wrong", "api", "warning")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_says_where_and_never_with_what(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("loyalty", log_format=log_format)

    def fail_on(email: str) -> None:
        if email:
            raise KeyError(3)

    try:
        fail_on("alex" + "@" + "domain.io")
    except KeyError:
        logger("projections.loyalty").exception("A record was not applied")

    written = capsys.readouterr().err
    assert "fail_on" in written
    assert "alex@domain.io" not in written


def test_what_lies_below_the_threshold_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("api", level="error")

    logger("services.api").info("Something small happened")

    assert capsys.readouterr().err == ""
