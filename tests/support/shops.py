"""Shops that sell: producers of events that keep asking until each event is accepted.

A shop knows what it told and what was answered, and works out by itself, by plain arithmetic, how
many points each fact is worth and which messages it sets off. Its customers are its own and it
tells one thing after the other, so that nothing depends on how shops interleave.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import urlsplit

import msgspec

from tests.support.upshot import Upshot

CUSTOMERS = 6  # of a shop: few, so that their histories are long
BATCH_MAX = 8
REQUEST_SECONDS = 15.0  # beyond the gateway's own deadline
RETRY_SECONDS = 0.1
PATIENCE_SECONDS = 120.0  # no outage of a test lasts as long
STEP_SECONDS = 0.02  # pace of a shop: load, not flood
OUTAGES = (429, 502, 503, 504)

Body = dict[str, object]


class Fact(msgspec.Struct, kw_only=True):
    """What a shop believes about one fact: its latest version, and what that is worth.

    Attributes:
        name: what the shop calls it; never sent.
        body: its latest version, as sent.
        points: by rule, of the latest version where it counts.
        tells: whether its first version set off a message.
        event_id: as answered, the same for all versions.
        positions: of every accepted version, as answered.
    """

    name: str
    body: Body
    points: dict[str, int]
    tells: bool
    event_id: str = ""
    positions: list[str] = msgspec.field(default_factory=list[str])

    @property
    def customer(self) -> str:
        """The source_id of the customer who holds it."""
        return msgspec.convert(self.body["customer"], dict[str, str])["source_id"]

    @property
    def has_versions(self) -> bool:
        """Whether the shop may tell it anew."""
        return "external_id" in self.body and not self.body.get("historical")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One event's part of a batch's answer."""

    index: int
    id: str | None = None
    position: str | None = None
    problem: dict[str, object] | None = None


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A batch's answer."""

    results: list[Item]


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A single event's answer."""

    id: str
    position: str


class Shop(threading.Thread):
    """Tells events until asked to stop; what it could not tell stands in ``failure``."""

    def __init__(self, upshot: Upshot, name: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.facts: list[Fact] = []
        self.accepted = 0
        self.failure: str | None = None
        self._address = urlsplit(upshot.url).netloc
        self._key = upshot.admin_key
        self._random = random.Random(seed)
        self._time = datetime.now(tz=UTC) - timedelta(hours=6)
        self._connection: http.client.HTTPConnection | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """Tell one request after the other."""
        try:
            while not self._stopping.wait(STEP_SECONDS):
                if self._random.random() < 0.3:
                    self._tell_batch(self._distinct(self._random.randint(2, BATCH_MAX)))
                else:
                    self._tell_one(self._next())
        except Exception as error:  # noqa: BLE001 - the test that waits for it says so
            self.failure = f"{self.name}: {error!r}"
        finally:
            if self._connection is not None:
                self._connection.close()

    def finish(self) -> None:
        """Stop after the request under way has its answer."""
        self._stopping.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), f"{self.name} still waits for an answer"
        assert self.failure is None, self.failure

    def _distinct(self, count: int) -> list[Fact]:
        """Choose what to tell together: each fact once, since a batch is told again in parts."""
        chosen: dict[str, Fact] = {}
        for _ in range(count):
            fact = self._next(exclude=chosen)
            chosen[fact.name] = fact
        return list(chosen.values())

    def _next(self, exclude: dict[str, Fact] | None = None) -> Fact:
        """Choose what to tell next; the fact's body is what is sent."""
        old = [each for each in self.facts[-60:] if not exclude or each.name not in exclude]
        if not old or self._random.random() < 0.55:
            return self._new_fact()
        fact = self._random.choice(old)
        if fact.has_versions and self._random.random() < 0.75:
            self._change(fact)
        return fact  # unchanged: a duplicate

    def _new_fact(self) -> Fact:
        name = f"{self.name}-{len(self.facts)}"
        make = self._random.choices(
            (self._purchase, self._refund, self._review, self._old_purchase), (6, 2, 3, 1)
        )[0]
        fact = make(name)
        self.facts.append(fact)
        return fact

    def _purchase(self, name: str) -> Fact:
        body = self._said("order.completed", amount=self._amount(), currency="EUR")
        body["external_id"] = f"order-{name}"
        return Fact(name=name, body=body, points=worth(body), tells=True)

    def _old_purchase(self, name: str) -> Fact:
        body = {**self._purchase(name).body, "historical": True}
        return Fact(name=name, body=body, points={}, tells=False)

    def _refund(self, name: str) -> Fact:
        body = self._said("order.refunded", amount=-self._amount())
        body["external_id"] = f"refund-{name}"
        return Fact(name=name, body=body, points=worth(body), tells=False)

    def _review(self, name: str) -> Fact:
        kind = self._random.choice(["text", "video"])
        body = self._said("left_review", review_type=kind, text="It fits.")
        body["id"] = f"review-{name}"
        return Fact(name=name, body=body, points=worth(body), tells=True)

    def _said(self, event: str, **metadata: object) -> Body:
        return {
            "event": event,
            "customer": {"source_id": self._customer()},
            "metadata": metadata,
            "occurred_at": self._next_time(),
        }

    def _change(self, fact: Fact) -> None:
        """Make a newer version: other contents, deleted, restored, or another customer's."""
        body = {"deleted_at": None, **fact.body, "occurred_at": self._next_time()}
        match self._random.choice(["amount", "amount", "delete", "restore", "move"]):
            case "amount":
                sign = -1 if body["event"] == "order.refunded" else 1
                body["metadata"] = {"amount": sign * self._amount()}
            case "delete":
                body["deleted_at"] = self._next_time()
            case "restore":
                body["deleted_at"] = None
            case _:
                body |= {"customer": {"source_id": self._customer()}, "deleted_at": None}
        fact.body = body
        fact.points = {} if body["deleted_at"] else worth(body)

    def _customer(self) -> str:
        return f"{self.name}-{self._random.randrange(CUSTOMERS)}"

    def _amount(self) -> float:
        return self._random.randint(1, 50_000) / 100

    def _next_time(self) -> str:
        self._time += timedelta(milliseconds=self._random.randint(1, 50))
        return self._time.isoformat().replace("+00:00", "Z")

    def _tell_one(self, fact: Fact) -> None:
        def told(status: int, body: bytes) -> bool:
            if status in OUTAGES:
                return False
            assert status == 200, body
            answer = msgspec.json.decode(body, type=EventAnswer)
            self._keep(fact, answer.id, answer.position)
            return True

        self._until_told("/v1/events", lambda: fact.body, told)

    def _tell_batch(self, facts: Sequence[Fact]) -> None:
        waiting = list(facts)

        def told(status: int, body: bytes) -> bool:
            if status in OUTAGES:
                return False
            assert status == 200, body
            results = msgspec.json.decode(body, type=BatchAnswer).results
            again: list[Fact] = []
            for fact, result in zip(waiting, results, strict=True):
                if result.id is None or result.position is None:
                    assert result.problem is not None, body
                    assert result.problem["status"] in OUTAGES, result.problem
                    again.append(fact)
                else:
                    self._keep(fact, result.id, result.position)
            waiting[:] = again
            return not waiting

        self._until_told("/v1/events/batch", lambda: [each.body for each in waiting], told)

    def _keep(self, fact: Fact, event_id: str, position: str) -> None:
        assert fact.event_id in {"", event_id}, f"{fact.event_id} was answered as {event_id}"
        fact.event_id = event_id
        fact.positions.append(position)
        self.accepted += 1

    def _until_told(
        self, path: str, body: Callable[[], object], told: Callable[[int, bytes], bool]
    ) -> None:
        """Send until the answer is one that stands; whatever else happens is tried again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            answer = self._sent(path, json.dumps(body()).encode())
            if answer is not None and told(*answer):
                return
            self._stopping.wait(RETRY_SECONDS)
        msg = f"no answer to {path} within {PATIENCE_SECONDS} s"
        raise TimeoutError(msg)

    def _sent(self, path: str, body: bytes) -> tuple[int, bytes] | None:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address, timeout=REQUEST_SECONDS)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            self._connection.request("POST", path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            return None


def worth(body: Body) -> dict[str, int]:
    """Work out what one version of one fact is worth under the sample program, by rule."""
    metadata = msgspec.convert(body["metadata"], dict[str, str | float])
    match body["event"]:
        case "left_review":
            video = {"video-review": 100} if metadata["review_type"] == "video" else {}
            return {"review": 50, **video}
        case "order.completed":
            return _steps("purchase", float(metadata["amount"]))
        case _:
            return _steps("refund", float(metadata["amount"]))


def _steps(rule: str, amount: float) -> dict[str, int]:
    """One point for each whole ten, rounded toward zero, in cents so that nothing is lost."""
    cents = round(amount * 100)
    steps = abs(cents) // 1000 * (1 if cents > 0 else -1)
    return {rule: steps} if steps else {}


class Town:
    """Several shops, whose customers and facts no other town knows."""

    def __init__(self, upshot: Upshot, *, shops: int, seed: int) -> None:
        name = uuid.uuid4().hex[:8]
        self.shops = [Shop(upshot, f"{name}-{number}", seed + number) for number in range(shops)]

    def __enter__(self) -> Self:
        for shop in self.shops:
            shop.start()
        return self

    def __exit__(self, *_error: object) -> None:
        for shop in self.shops:
            shop.finish()

    @property
    def accepted(self) -> int:
        """Events answered with a position so far."""
        failures = [shop.failure for shop in self.shops if shop.failure]
        if failures:
            raise RuntimeError(failures)
        return sum(shop.accepted for shop in self.shops)

    @property
    def facts(self) -> list[Fact]:
        """All that was told."""
        return [fact for shop in self.shops for fact in shop.facts]


def sell(upshot: Upshot, customer: str, amount: float = 50) -> str:
    """Tell one purchase by one customer; answers its position."""
    body = {
        "event": "order.completed",
        "customer": {"source_id": customer},
        "metadata": {"amount": amount},
    }
    answer = upshot.request("POST", "/v1/events", json.dumps(body))
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=EventAnswer).position
