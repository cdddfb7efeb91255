"""A front door on loopback that answers as a test says, and a command line that speaks to it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from services.operations.cli import main

KEY = "key-of-a-test"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered: a value as JSON, or text as it is."""

    value: object = None
    status: int = 200
    text: bytes | None = None
    headers: Mapping[str, str] = {}


class FrontDoor:
    """A server that answers each request by a function of the test's."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                door.serve(self)

            do_POST = do_DELETE = do_GET  # noqa: N815 - their names

            def log_message(self, format: str, *_args: object) -> None:  # noqa: A002 - its name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        parts = urlsplit(request.path)
        asked = Asked(
            method=request.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.rfile.read(int(request.headers.get("Content-Length") or 0)),
        )
        self.asked.append(asked)
        answer = self.answer(asked)
        content = msgspec.json.encode(answer.value) if answer.text is None else answer.text
        request.send_response(answer.status)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def front_door(answer: Callable[[Asked], Answer]) -> Generator[FrontDoor]:
    """Run a front door for the block."""
    door = FrontDoor(answer)
    thread = threading.Thread(target=door.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield door
    finally:
        door.server.shutdown()
        thread.join()
        door.server.server_close()


def refusal(status: int, title: str, detail: str, *faults: tuple[str, str]) -> Answer:
    """A problem document."""
    errors = [{"pointer": pointer, "code": "c", "detail": text} for pointer, text in faults]
    value = {"title": title, "status": status, "detail": detail, "errors": errors}
    return Answer(value=value, status=status)


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs command lines in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, door: FrontDoor, *words: str) -> Outcome:
        """Run `upshot` with these words against a front door."""
        return self.bare(*words, "--url", door.url, "--key", KEY)

    def bare(self, *words: str) -> Outcome:
        """Run `upshot` with these words alone."""
        self._monkeypatch.setattr(sys, "argv", ["upshot", *words])
        self._monkeypatch.setenv("COLUMNS", "200")
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = self._capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, shown.out, shown.err)
