"""One start holds a data folder at a time, and its secrets are made once and kept private."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from services.stack.data_folder import LOG_KEPT_BYTES, DataFolder
from services.stack.errors import AlreadyRunningError, StackError


def test_a_second_start_is_told_who_runs_and_where(tmp_path: Path) -> None:
    second = DataFolder(tmp_path).held("http://127.0.0.1:9090")

    with (
        DataFolder(tmp_path).held("http://127.0.0.1:8080"),
        pytest.raises(AlreadyRunningError) as told,
        second,
    ):
        pytest.fail("held twice")

    assert f"process {os.getpid()}" in str(told.value)
    assert "http://127.0.0.1:8080" in str(told.value)


def test_a_folder_given_up_can_be_held_again(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        with DataFolder(tmp_path).held(url):
            assert url in (tmp_path / "running.json").read_text()


def test_a_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    made = DataFolder(tmp_path).secret("admin-key", "", _numbered())
    again = DataFolder(tmp_path).secret("admin-key", "", _numbered(start=7))

    assert (made, again) == (("secret-0", True), ("secret-0", False))
    assert stat.S_IMODE((tmp_path / "admin-key.secret").stat().st_mode) == 0o600


def test_a_secret_from_the_settings_wins_and_is_not_written(tmp_path: Path) -> None:
    assert DataFolder(tmp_path).secret("admin-key", "given", _numbered()) == ("given", False)

    assert list(tmp_path.iterdir()) == []


def test_a_log_grown_large_makes_room_at_the_next_start(tmp_path: Path) -> None:
    file = DataFolder(tmp_path).log_file("api")
    file.write_bytes(b"")
    os.truncate(file, LOG_KEPT_BYTES + 1)

    assert DataFolder(tmp_path).log_file("api") == file

    assert not file.exists()
    assert file.with_suffix(".log.1").stat().st_size == LOG_KEPT_BYTES + 1


def _numbered(start: int = 0) -> Callable[[], str]:
    numbers = count(start)
    return lambda: f"secret-{next(numbers)}"


def test_a_folder_is_listed_by_its_owner_alone(tmp_path: Path) -> None:
    made = DataFolder(tmp_path / "new" / "data").path

    assert stat.S_IMODE(made.stat().st_mode) & 0o066 == 0


def test_a_folder_that_cannot_be_made_is_told_with_its_setting(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    for path in (file, file / "data"):
        with pytest.raises(StackError, match="name another by UPSHOT_DATA_DIR"):
            DataFolder(path)
