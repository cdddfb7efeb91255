"""What the OpenAPI document says holds of the real processes, for input made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from tests.support.servers import session_folder
from tests.support.upshot import Upshot, running_upshot

RUN_SECONDS = 900
SEED = 20_261_121
STREAMS = ("/v1/activity/stream", "/metrics")
"""Answers that do not end by themselves, or whose media type carries parameters."""

EVENT = {
    "event": "left_review",
    "customer": {"source_id": "alex", "email": "alex@domain.io"},
    "metadata": {"review_type": "text"},
}

READS = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
"""
# One event of a batch is refused by itself, with 200. A rule may refuse what its schema takes (a
# reference to something undefined, a time in the past). 503: what was named has not come yet.
WRITES = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
positive_data_acceptance.enabled = false

[parameters]
"header.Upshot-Definitions-Revision" = "1"

[[operations]]
include-path = "/v1/events/batch"
[operations.checks]
negative_data_rejection.enabled = false
"""


@pytest.fixture(scope="module")
def upshot() -> Generator[Upshot]:
    with session_folder() as folder, running_upshot(folder / "data") as running:
        yield running


class Sent(msgspec.Struct, frozen=True):
    """An event that stands in the log."""

    id: str
    position: str


@pytest.fixture
def sent(upshot: Upshot) -> Sent:
    answer = upshot.request("POST", "/v1/events", json.dumps(EVENT))
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=Sent)


@pytest.mark.timeout(RUN_SECONDS)
def test_reads_answer_as_described(upshot: Upshot, sent: Sent, tmp_path: Path) -> None:
    parameters = f"""
[parameters]
"path.customer" = "alex"
"path.program" = "rewards"
"path.event" = "{sent.id}"
"path.endpoint" = "local-receiver"
"query.cursor" = ""
"header.Prefer" = "wait=5"
"header.Upshot-Wait-For" = "{sent.position}"
"query.position" = "{sent.position}"
"""

    outcome = _run(upshot, tmp_path, READS + parameters, "--include-method=GET")

    assert outcome.returncode == 0, outcome.stdout[-20_000:]


@pytest.mark.timeout(RUN_SECONDS)
def test_writes_answer_as_described(upshot: Upshot, tmp_path: Path) -> None:
    outcome = _run(upshot, tmp_path, WRITES, "--exclude-method=GET")

    assert outcome.returncode == 0, outcome.stdout[-20_000:]


def _run(
    upshot: Upshot, folder: Path, settings: str, *options: str
) -> subprocess.CompletedProcess[str]:
    config = folder / "schemathesis.toml"
    config.write_text(settings)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={config}",
        "run",
        f"{upshot.url}/openapi.json",
        "--header",
        f"Authorization: Bearer {upshot.admin_key}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=5",
        f"--seed={SEED}",
        "--generation-database=none",
        "--generation-with-security-parameters=false",
        "--request-timeout=30",
        "--warnings=off",
        "--no-color",
        *(f"--exclude-path={path}" for path in STREAMS),
        *options,
    ]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=RUN_SECONDS
    )
