"""The sample definitions, with the address and secret of the local receiver filled in."""

from __future__ import annotations

from pathlib import Path
from string import Template

SAMPLES_FILE = Path(__file__).with_name("samples.yaml")


def sample_definitions(*, receiver_url: str, receiver_secret: str) -> str:
    """Return YAML documents for ``POST /v1/definitions``."""
    text = Template(SAMPLES_FILE.read_text())
    return text.substitute(RECEIVER_URL=receiver_url, RECEIVER_SECRET=receiver_secret)


def receiver_endpoint(*, receiver_url: str, receiver_secret: str) -> str:
    """Return the one document that changes when the receiver moves to another port."""
    documents = sample_definitions(receiver_url=receiver_url, receiver_secret=receiver_secret)
    (endpoint,) = (each for each in documents.split("\n---\n") if "kind: endpoint\n" in each)
    return endpoint
