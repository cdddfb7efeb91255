"""The samples are definitions that this version accepts."""

from __future__ import annotations

import pytest

from contracts.definitions.distributions import parse_distribution
from contracts.definitions.endpoints import parse_endpoint
from contracts.definitions.event_types import parse_event_type
from contracts.definitions.loyalty_programs import parse_loyalty_program
from services.api.json_text import Json
from services.api.yaml_text import read_yaml
from services.stack.receiver import new_receiver_secret
from services.stack.samples import receiver_endpoint, sample_definitions

PARSERS = {
    "event_type": parse_event_type,
    "loyalty_program": parse_loyalty_program,
    "endpoint": parse_endpoint,
    "distribution": parse_distribution,
}
URL = "http://127.0.0.1:9/webhooks"


def _documents() -> list[dict[str, Json]]:
    text = sample_definitions(receiver_url=URL, receiver_secret=new_receiver_secret())
    return [document for document in read_yaml(text.encode()) if isinstance(document, dict)]


def test_the_samples_name_what_a_review_program_needs() -> None:
    documents = sample_definitions(receiver_url=URL, receiver_secret=new_receiver_secret())

    for name in ("signed_up", "left_review", "order.completed", "order.refunded", "rewards"):
        assert f"name: {name}\n" in documents
    assert "$RECEIVER" not in documents


@pytest.mark.parametrize("document", _documents(), ids=lambda each: str(each["name"]))
def test_this_version_accepts_the_sample(document: dict[str, Json]) -> None:
    kind, name = str(document["kind"]), str(document["name"])

    PARSERS[kind](name, document["spec"])


def test_the_receivers_endpoint_can_be_sent_alone() -> None:
    endpoint = receiver_endpoint(receiver_url=URL, receiver_secret="whsec_x")

    assert endpoint.count("kind:") == 1
    assert URL in endpoint
