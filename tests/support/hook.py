"""A webhook receiver that lives in a thread, for tests without an event loop."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

SECRET_BYTES = 32


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One request: headers by lower-case name, and body."""

    headers: dict[str, str]
    body: bytes


class Hook:
    """Takes what comes and answers 200, or what ``status`` says."""

    def __init__(self) -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        self.taken: list[Taken] = []
        self.status = 200
        self.url = ""

    def signature_of(self, taken: Taken) -> str:
        """Sign as the Standard Webhooks specification says, by nothing but the specification."""
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        head = f"{taken.headers['webhook-id']}.{taken.headers['webhook-timestamp']}."
        digest = hmac.new(key, head.encode() + taken.body, hashlib.sha256).digest()
        return "v1," + base64.b64encode(digest).decode()


@contextmanager
def running_hook() -> Generator[Hook]:
    """Run a receiver on a free loopback port."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            hook.taken.append(Taken(headers=headers, body=body))
            self.send_response(hook.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
