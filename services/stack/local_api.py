"""The stack's own calls to its front door: loopback only, a few bytes, answered in threads."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from services.runtime.definitions import NOT_UNDERSTOOD
from services.stack.errors import StackError

T = TypeVar("T")

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024  # a page of any list


class LocalCallError(StackError):
    """The front door refused, or did not answer; the message carries what it said."""


class LocalApi:
    """Speaks to one front door with one key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._key = key

    async def get(self, path: str, type_: type[T]) -> T:
        """Read a resource.

        Raises:
            LocalCallError: any status but 200, or an answer of another shape.
        """
        answer = await asyncio.to_thread(self._call, "GET", path, None, None)
        return _decoded(answer, type_)

    async def apply(self, documents: str) -> int:
        """Send definitions, YAML, all or none; answers their revision.

        Raises:
            LocalCallError: they were refused.
        """
        answer = await asyncio.to_thread(
            self._call, "POST", "/v1/definitions", documents.encode(), "application/yaml"
        )
        return _decoded(answer, _Applied).revision

    async def would_accept(self, event: bytes, *, revision: int) -> bool:
        """Return whether the event would be accepted by definitions of that revision or newer."""
        path, wanted = "/v1/events?dry_run=true", {"Upshot-Definitions-Revision": str(revision)}
        try:
            await asyncio.to_thread(self._call, "POST", path, event, "application/json", wanted)
        except LocalCallError:
            return False
        return True

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        form: str | None,
        more: Mapping[str, str] | None = None,
    ) -> bytes:
        headers = {"Authorization": f"Bearer {self._key}", **(more or {})}
        if form:
            headers["Content-Type"] = form
        request = urllib.request.Request(  # noqa: S310 - the stack's own address
            f"{self.url}{path}", data=body, method=method, headers=headers
        )
        try:
            with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return bytes(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as refused:
            with refused:
                said = refused.read(ANSWER_BYTES_MAX).decode(errors="replace")
            msg = f"{method} {path}: {refused.code} {said}"
            raise LocalCallError(msg) from refused
        except OSError as away:
            msg = f"{method} {path}: {away}"
            raise LocalCallError(msg) from away


class _Applied(msgspec.Struct, frozen=True, kw_only=True):
    revision: int


def answers_ready(url: str) -> bool:
    """Return whether a process says that it is ready."""
    try:
        with _OPENER.open(f"{url}/readyz", timeout=TIMEOUT_SECONDS) as answer:
            return int(answer.status) == 200  # noqa: PLR2004 - OK
    except OSError:
        return False


def waits_for_definitions_alone(url: str) -> bool:
    """Return whether a process works but for definitions that it does not understand."""
    try:
        with _OPENER.open(f"{url}/readyz", timeout=TIMEOUT_SECONDS):
            return False
    except urllib.error.HTTPError as unready:
        with unready:
            content = unready.read(ANSWER_BYTES_MAX)
    except OSError:
        return False
    try:
        reasons = msgspec.json.decode(content, type=_Unready).reasons
    except msgspec.DecodeError:
        return False
    return bool(reasons) and all(NOT_UNDERSTOOD in reason for reason in reasons)


class _Unready(msgspec.Struct):
    reasons: list[str]


def _decoded(answer: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=type_)
    except msgspec.DecodeError as error:
        msg = f"the front door answered something else than expected: {error}"
        raise LocalCallError(msg) from error


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Passes by the proxies of the environment: they cannot reach this machine's loopback."""
