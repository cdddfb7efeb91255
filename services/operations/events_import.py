"""`upshot events import`: send a file of events, NDJSON, and be able to go on after a break.

Guarantee: every line is accepted, or stands with its number and problem in the file of refusals.
An import that was stopped anywhere, and is started again, sends no event twice that has effects
once: where the answer to a batch was not seen, the batch is sent again with the same ids.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

from services.gateway.bounds import BATCH_EVENTS_MAX, EVENT_BYTES_MAX
from services.operations.client import NDJSON, Client, decoded, target
from services.operations.errors import (
    FAILURE,
    CommandError,
    Problem,
    RefusedCallError,
    UnreachableError,
)
from services.operations.import_lines import BATCH_EVENTS, Chunk, LineReader, identified
from services.operations.import_state import ImportState, pass_over, read_state, write_state
from services.operations.options import Json, Key, Url, open_client
from services.operations.screen import Screen

STDIN: Final = "-"
RETRY_SECONDS: Final = 300.0
"""How long a batch is tried again: a restart of the front door, the broker or the database."""
PAUSE_SECONDS: Final = 1.0
PAUSE_SECONDS_MAX: Final = 30.0
UNAVAILABLE: Final = (408, 429, 500, 502, 503, 504)

Input = Annotated[
    str, typer.Argument(metavar="FILE|-", help="One event a line, as POST /v1/events takes it.")
]
Historical = Annotated[
    bool, typer.Option("--historical", help="Count as history: earn, convert and send nothing.")
]
StateFile = Annotated[
    Path | None,
    typer.Option("--state", help="Where to keep how far it is; by default beside FILE."),
]
RefusedFile = Annotated[
    Path | None,
    typer.Option("--refused", help="Where refusals go; by default FILE.refused.ndjson."),
]
BatchSize = Annotated[
    int, typer.Option("--batch", min=1, max=BATCH_EVENTS_MAX, help="Events a request.")
]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One refused event of a batch's answer; ``problem`` is its problem document."""

    index: int
    problem: msgspec.Raw


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a batch, asked for its refusals alone."""

    accepted: int
    refused: int
    results: Sequence[Refusal] = ()


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an import; ``refused_file`` is None where nothing was refused."""

    lines: int
    accepted: int
    refused: int
    refused_file: str | None


def import_events(
    file: Input,
    *,
    historical: Historical = False,
    state_file: StateFile = None,
    refused_file: RefusedFile = None,
    batch: BatchSize = BATCH_EVENTS,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Send events, one a line; refused ones are written to a file with line number and problem.

    Run again after a break, it goes on where it stopped, as long as what was sent of FILE has not
    changed; from stdin it cannot. Events without id and external_id get an id of this import, so
    that nothing counts twice. Exit code 1 when an event was refused.
    """
    client, screen = open_client(url, key), Screen(as_json=as_json)
    with _opened(file) as source:
        name = "stdin" if file == STDIN else file
        kept = state_file or Path(f"{name}.import-state.json")
        started = _Import(
            client,
            screen,
            source,
            state_file=kept if file != STDIN and _size(source) is not None else None,
            refused_file=refused_file or Path(f"{name}.refused.ndjson"),
        )
        done = started.run(historical=historical, batch_events=batch)
    screen.json(done)
    screen.say(f"{done.accepted:,} events accepted, {done.refused:,} refused.")
    if done.refused_file is not None:
        screen.say(f"The refused lines and why: {done.refused_file}", style="red")
        raise typer.Exit(FAILURE)


class _Import:
    """One run of an import."""

    def __init__(
        self,
        client: Client,
        screen: Screen,
        source: BinaryIO,
        *,
        state_file: Path | None,
        refused_file: Path,
    ) -> None:
        self._client: Final = client
        self._screen: Final = screen
        self._source: Final = source
        self._state_file: Final = state_file
        self._refused_file: Final = refused_file
        self._has_sent = False

    def run(self, *, historical: bool, batch_events: int) -> Imported:
        """Send what is left; raises ``CommandError``, after which it can go on."""
        state = self._begin(historical=historical)
        try:
            state = self._send_all(state, batch_events)
        except KeyboardInterrupt as stop:
            raise CommandError(f"Stopped. {self._how_to_go_on()}") from stop
        except CommandError as error:
            raise CommandError(f"{error}\n{self._how_to_go_on()}") from error
        if self._state_file is not None:
            self._state_file.unlink(missing_ok=True)
        return Imported(
            lines=state.lines,
            accepted=state.accepted,
            refused=state.refused,
            refused_file=str(self._refused_file) if state.refused else None,
        )

    def _begin(self, *, historical: bool) -> ImportState:
        found = None if self._state_file is None else read_state(self._state_file)
        if found is None:
            self._cut_refusals(0)
            name = f"import_{uuid.uuid4().hex}"
            return ImportState(import_id=name, url=self._client.url, historical=historical)
        if (found.url, found.historical) != (self._client.url, historical):
            how = "with" if found.historical else "without"
            msg = (
                f"An import of this file to {found.url} {how} --historical was interrupted. Go on "
                f"with it in the same way, or remove {self._state_file} to import from the start."
            )
            raise CommandError(msg)
        self._screen.note(
            f"Going on after line {found.lines:,}: {found.accepted:,} events were accepted, "
            f"{found.refused:,} refused."
        )
        return found

    def _send_all(self, state: ImportState, batch_events: int) -> ImportState:
        kept = self._state_file or Path(os.devnull)
        digest = pass_over(self._source, state, kept)
        self._cut_refusals(state.refusals_bytes)
        reader = LineReader(
            self._source,
            offset=state.next_offset,
            lines=state.lines,
            digest=digest,
            batch_events=batch_events,
        )
        with self._screen.progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[events]:,} accepted, {task.fields[refused]:,} refused"),
            TimeRemainingColumn(),
        ) as bar:
            task = bar.add_task("import", total=_size(self._source), events=0, refused=0)
            for chunk in reader.chunks():
                state = self._send(state, chunk)
                bar.update(
                    task,
                    completed=state.next_offset,
                    events=state.accepted,
                    refused=state.refused,
                )
        return state

    def _send(self, state: ImportState, chunk: Chunk) -> ImportState:
        refusals = [(number, msgspec.Raw(_TOO_LONG)) for number in chunk.too_long]
        accepted = 0
        if chunk.lines:
            body = b"\n".join(identified(line, state.import_id) for line in chunk.lines)
            answer = self._answered(body, historical=state.historical)
            accepted = answer.accepted
            refusals += [(chunk.lines[each.index].number, each.problem) for each in answer.results]
        state = msgspec.structs.replace(
            state,
            next_offset=chunk.next_offset,
            digest=chunk.digest,
            lines=chunk.last_line,
            accepted=state.accepted + accepted,
            refused=state.refused + len(refusals),
            refusals_bytes=self._write_refusals(sorted(refusals, key=_line), state.refusals_bytes),
        )
        if self._state_file is not None:
            write_state(self._state_file, state)
        return state

    def _answered(self, body: bytes, *, historical: bool) -> BatchAnswer:
        """Send a batch until it is answered; the same bytes again are safe.

        Raises:
            CommandError: it was refused as a whole, or nothing answered for ``RETRY_SECONDS``; at
                once where nothing has answered in this run.
        """
        query = {"results": "refused", "historical": "true" if historical else None}
        path = target("/v1/events/batch", query)
        deadline = time.monotonic() + RETRY_SECONDS
        is_first_try = True
        while True:
            try:
                answer = decoded(self._client.call("POST", path, body, NDJSON), BatchAnswer)
            except (RefusedCallError, UnreachableError) as error:
                pause = self._pause_after(error)
                if pause is None or time.monotonic() + pause > deadline:
                    raise
                if is_first_try:
                    self._screen.note(f"{error} (Trying again for up to {RETRY_SECONDS:g} s.)")
                is_first_try = False
                time.sleep(pause)
            else:
                self._has_sent = True
                return answer

    def _pause_after(self, error: RefusedCallError | UnreachableError) -> float | None:
        """Seconds until another try; None where there is to be none."""
        if isinstance(error, UnreachableError):
            return PAUSE_SECONDS if self._has_sent else None
        if error.problem.status not in UNAVAILABLE:
            return None
        return min(error.retry_after_seconds or PAUSE_SECONDS, PAUSE_SECONDS_MAX)

    def _write_refusals(self, refusals: list[tuple[int, msgspec.Raw]], length: int) -> int:
        """Append to the file of refusals; returns its length afterwards, in bytes."""
        if not refusals:
            return length
        text = b"".join(
            b'{"line":%d,"problem":%s}\n' % (number, bytes(problem)) for number, problem in refusals
        )
        with _writing(self._refused_file), self._refused_file.open("ab") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        return length + len(text)

    def _cut_refusals(self, length: int) -> None:
        """Take away what an earlier run wrote and did not count."""
        with _writing(self._refused_file):
            if length == 0:
                self._refused_file.unlink(missing_ok=True)
            elif self._refused_file.exists():
                os.truncate(self._refused_file, length)

    def _how_to_go_on(self) -> str:
        if self._state_file is None:
            return (
                "This input cannot be gone on with; sending it again is safe for events that have "
                "an id or an external_id."
            )
        return "Run the same command again to go on where it stopped."


def _line(refusal: tuple[int, msgspec.Raw]) -> int:
    return refusal[0]


@contextmanager
def _writing(file: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        msg = f"{file} cannot be written ({error.strerror}). Name another file by --refused."
        raise CommandError(msg) from error


@contextmanager
def _opened(file: str) -> Generator[BinaryIO]:
    if file == STDIN:
        yield sys.stdin.buffer
        return
    try:
        source = Path(file).open("rb")  # noqa: SIM115 - closed below; errors inside are not its own
    except OSError as error:
        msg = f"{file} cannot be read ({error.strerror}). Name an NDJSON file, or - for stdin."
        raise CommandError(msg) from error
    with source:
        _hold(source, file)
        yield source


def _hold(source: BinaryIO, file: str) -> None:
    """Let nobody else import the same file at the same time; a file system without locks may."""
    try:
        fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        msg = f"Another import of {file} is running. Wait for its end."
        raise CommandError(msg) from held
    except OSError:
        return


def _size(source: BinaryIO) -> int | None:
    """Bytes of a regular file; None of anything that cannot be read again."""
    found = os.fstat(source.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


_TOO_LONG: Final = msgspec.json.encode(
    Problem(
        title="The line is too long",
        status=413,
        detail=f"An event has at most {EVENT_BYTES_MAX} bytes; this one was not sent.",
    )
)
