"""Settings come from the environment, are refused together, and keep secrets to themselves."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.runtime.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"UPSHOT_{name.upper()}", raising=False)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = load_settings()

    assert settings.data_dir == Path(".upshot")
    assert (settings.host, settings.port, settings.workspace) == ("127.0.0.1", 8080, "demo")
    assert settings.webhook_retry_schedule == (0, 5, 300, 1800, 7200, 18000, 36000, 36000)
    assert settings.webhook_allow == ()
    assert settings.partitions == 12


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSHOT_WEBHOOK_ALLOW", "127.0.0.0/8, ::1/128")
    monkeypatch.setenv("UPSHOT_WEBHOOK_RETRY_SCHEDULE", "0,1,2")

    settings = load_settings()

    assert settings.webhook_allow == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.webhook_retry_schedule == (0, 1, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("PARTITIONS", "0"),
        ("WEBHOOK_ALLOW", "10.0.0.1/8"),
        ("WEBHOOK_RETRY_SCHEDULE", "-1"),
        ("WEBHOOK_RETRY_SCHEDULE", ""),
        ("WORKSPACE", "Not A Name"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_nonsense_is_refused_at_start(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"UPSHOT_{name}", value)

    with pytest.raises(ValidationError):
        load_settings()


def test_a_secret_is_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSHOT_ADMIN_KEY", "a-very-secret-key")
    monkeypatch.setenv("UPSHOT_MASTER_KEY", "a-very-secret-key")

    settings = load_settings()

    assert "a-very-secret-key" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.admin_key.get_secret_value() == "a-very-secret-key"


def test_a_child_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSHOT_ADMIN_KEY", "k")
    monkeypatch.setenv("UPSHOT_WEBHOOK_ALLOW", "127.0.0.0/8")
    parent = load_settings()

    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)

    assert load_settings() == parent
