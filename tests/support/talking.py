"""Speaking to a running system as its users do, and taking answers apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import msgspec

from contracts.codec import Json, JsonObject, decode_object
from tests.support.upshot import Answer, Upshot

PROBLEM = "application/problem+json"
WAIT = "wait=30"  # the longest that the api lets anyone wait

Method = Literal["GET", "POST", "PUT", "DELETE"]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted event."""

    id: str
    position: str
    customer: str
    whole: JsonObject


class Talk:
    """One client of one running system."""

    def __init__(self, upshot: Upshot) -> None:
        self.upshot = upshot
        self.revision = 0

    def ask(
        self,
        method: Method,
        path: str,
        document: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a JSON document, or bytes as they are, and return whatever comes back."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.upshot.request(method, path, None if document is None else body, headers)

    def tell(self, event: str, source_id: str, **fields: object) -> Told:
        """Tell an event of a customer (a source_id); it must be accepted."""
        body = {"event": event, "customer": {"source_id": source_id}, **fields}
        newest = {"Upshot-Definitions-Revision": str(self.revision)} if self.revision else {}
        answer = self.ask("POST", "/v1/events", body, newest)
        assert answer.status == 200, answer.body
        said = decode_object(answer.body)
        position = str(said["position"])
        assert answer.headers["upshot-position"] == position
        return Told(
            id=str(said["id"]),
            position=position,
            customer=str(part(said, "customer", "id")),
            whole=said,
        )

    def read(self, path: str, *after: str) -> JsonObject:
        """Read an object once its read model has passed the positions."""
        headers = {"Upshot-Wait-For": ", ".join(after), "Prefer": WAIT} if after else None
        answer = self.ask("GET", path, headers=headers)
        assert answer.status == 200, answer.body
        return decode_object(answer.body)

    def listed(self, path: str, *after: str) -> list[JsonObject]:
        """Read the first page of a list."""
        found = self.read(path, *after)
        assert found["object"] == "list", found
        return objects(found["data"])

    def points(self, customer: str, *after: str, program: str = "rewards") -> Json:
        """Read a member's available points."""
        path = f"/v1/loyalty/{program}/members/{customer}"
        return part(self.read(path, *after), "points", "available")

    def put(self, kind: str, name: str, spec: object) -> int:
        """Define something, which events told from now on are judged by; answers the revision."""
        answer = self.ask("PUT", f"/v1/definitions/{kind}/{name}", spec)
        assert answer.status in {200, 201}, answer.body
        revision = decode_object(answer.body)["revision"]
        assert isinstance(revision, int), answer.body
        self.revision = max(self.revision, revision)
        return revision


def part(value: Json, *path: str | int) -> Json:
    """Look up what is inside objects and arrays."""
    for step in path:
        if isinstance(step, int):
            assert isinstance(value, list), f"{step} is looked up in an array, not in {value}"
            value = value[step]
        else:
            assert isinstance(value, dict), f"{step} is looked up in an object, not in {value}"
            value = value[step]
    return value


def objects(value: Json) -> list[JsonObject]:
    """Take an array of objects."""
    assert isinstance(value, list), f"an array, not {value}"
    found: list[JsonObject] = []
    for each in value:
        assert isinstance(each, dict), f"an object, not {each}"
        found.append(each)
    return found


def assert_problem(answer: Answer, status: int, *pointers: str) -> JsonObject:
    """Check that an answer is a whole problem document that names these places, and return it."""
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["content-type"].startswith(PROBLEM)
    problem = decode_object(answer.body)
    assert str(problem["type"]).startswith("urn:upshot:problem:"), problem
    assert problem["status"] == status == problem["code"], problem
    assert problem["title"] and problem["detail"] and problem["message"], problem
    assert problem["request_id"] == answer.headers["x-request-id"], problem
    found = [part(each, "pointer") for each in objects(problem["errors"])]
    missing = [each for each in pointers if each not in found]
    assert not missing, (missing, problem)
    return problem
