"""The generated descriptions of the surface say what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest

from contracts.definitions import KINDS
from contracts.topics import TOPICS
from services.api.schemas import FOLDER, schema_files
from services.api.table import ROUTES

ROOT = Path(__file__).parents[2]
FILES = schema_files()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_generated_schema_is_not_stale(name: str) -> None:
    path = ROOT / FOLDER / name

    assert path.read_bytes() == FILES[name], "run `make schemas`"


def test_no_generated_schema_is_left_over() -> None:
    folder = ROOT / FOLDER

    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.json")}

    assert found == set(FILES)


def test_every_route_is_described() -> None:
    document = json.loads(FILES["openapi.json"])

    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }

    assert described == {(route.method, route.path.replace("*}", "}")) for route in ROUTES}


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
def test_every_reference_leads_somewhere(name: str) -> None:
    document = json.loads(FILES[name])
    text = FILES[name].decode()

    for reference in set(re.findall(r'"\$ref": "#/(components/[^"]+|channels/[^"]+)"', text)):
        node = document
        for part in reference.split("/"):
            node = node[part]


@pytest.mark.parametrize("name", sorted(name for name in FILES if "/" in name))
def test_a_schema_of_a_record_or_definition_compiles(name: str) -> None:
    jsonschema_rs.Draft202012Validator(json.loads(FILES[name]))


def test_operations_have_ids_of_their_own() -> None:
    paths = json.loads(FILES["openapi.json"])["paths"]

    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]

    assert len(ids) == len(set(ids))


def test_every_topic_tells_consumers_the_sequence_rule() -> None:
    document = json.loads(FILES["asyncapi.json"])

    assert set(document["channels"]) == {topic.name for topic in TOPICS}
    assert "sequence is not greater" in document["info"]["description"]
    for channel in document["channels"].values():
        assert channel["messages"]


def test_every_kind_of_definition_has_its_schema() -> None:
    assert {f"definitions/{kind}.json" for kind in KINDS} <= set(FILES)
