"""Kafka's jars: fetched once, kept in the user's cache, shared by every data folder and test.

``python -m services.stack.jars`` fetches them with a progress bar.
What stands in the cache is complete: jars are gathered aside and moved there in one step, under a
lock, so a fetch that was killed leaves nothing that looks usable.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from services.stack.errors import JarsUnavailableError

KAFKA_VERSION = "4.3.0"
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
FOLDER_NAME = f"kafka-{KAFKA_VERSION}-simplelogger"
STAGING_PREFIX = "fetch-"

Advance = Callable[[int], None]
"""Takes the bytes that came since the last call."""
ShowDownload = Callable[[str, int], AbstractContextManager[Advance]]
"""Takes file name and size in bytes."""


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/upshot`` (``~/.cache/upshot``), or a temporary one if unwritable."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "upshot"
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError:
        chosen = Path(tempfile.gettempdir()) / f"upshot-cache-{os.getuid()}"
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    return chosen


def kafka_jars(show: ShowDownload | None = None, *, cache: Path | None = None) -> list[Path]:
    """Return the class path of Kafka, fetching it (about 20 s) where the cache lacks it.

    Raises:
        JarsUnavailableError: nothing was fetched, nothing was kept.
    """
    home = cache or cache_folder()
    complete = home / FOLDER_NAME
    with _one_at_a_time(home / f"{FOLDER_NAME}.lock"):
        if not complete.exists():
            for stale in home.glob(f"{STAGING_PREFIX}*"):  # of a fetch that was killed
                shutil.rmtree(stale)
            _gather(complete, show or _show_nothing)
    return sorted(complete.glob("*.jar"))


def are_present(*, cache: Path | None = None) -> bool:
    """Return whether nothing needs fetching."""
    return ((cache or cache_folder()) / FOLDER_NAME).exists()


def _gather(complete: Path, show: ShowDownload) -> None:
    with tempfile.TemporaryDirectory(dir=complete.parent, prefix=STAGING_PREFIX) as staging:
        jars = Path(staging) / "jars"
        jars.mkdir()
        for jar in _resolve(Path(staging), show):
            shutil.copyfile(jar, jars / jar.name)
        jars.rename(complete)


def _resolve(staging: Path, show: ShowDownload) -> list[Path]:
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415 - takes half a second
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - as above

    context = MavenContext(
        resolver=PythonResolver(progress_callback=show), repo_cache=staging / "repository"
    )
    builder = EnvironmentBuilder(
        context=context, cache_dir=staging / "environments", link_strategy=LinkStrategy.HARD
    )
    try:
        return list(builder.from_endpoint(COORDINATES).all_jars)
    except Exception as error:  # the resolver raises whatever its HTTP client does
        msg = f"The jars of Kafka {KAFKA_VERSION} could not be fetched: {error}"
        raise JarsUnavailableError(msg) from error


@contextmanager
def _one_at_a_time(lock_file: Path) -> Generator[None]:
    with lock_file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _show_nothing(_name: str, _size_bytes: int) -> AbstractContextManager[Advance]:
    return nullcontext(_ignore)


def _ignore(_count_bytes: int) -> None:
    return


def main() -> int:
    """Fetch what is missing and show it on the terminal."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        @contextmanager
        def show(name: str, size_bytes: int) -> Generator[Advance]:
            task = progress.add_task(name, total=size_bytes)
            if name.endswith(".jar") and not console.is_terminal:
                console.print(f"  {name} ({size_bytes / 1024**2:.1f} MB)")
            yield lambda count_bytes: progress.advance(task, count_bytes)
            progress.remove_task(task)

        try:
            kafka_jars(show)
        except JarsUnavailableError as error:
            console.print(str(error), style="red")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
