"""The settings: what is a base URL, and that both ways of writing them work."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from ameide_shared.settings import OperatorSettings, SettingsError, describe, load
from ameide_shared.transformation.settings import TransformationSettings


class Settings(OperatorSettings):
    """An operator that has this group of settings."""

    transformation: TransformationSettings = Field(default_factory=TransformationSettings)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.ameide.svc", "https://api.ameide.svc"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://[::1]:8443/base/path/", "https://[::1]:8443/base/path"),
        ("", ""),
    ],
)
def test_a_base_url_is_kept_without_its_last_slash(url: str, kept: str) -> None:
    assert TransformationSettings(url=url).url == kept


@pytest.mark.parametrize(
    "url",
    [
        "api.svc",
        "//api",
        "ftp://api",
        "https://",
        "https://u:hunter2hunter2@api",
        "https://a?x=1",
        "https://a?",
        "https://a#f",
        "https://a:port",
        "https://a:0",
        "https://[::1",
    ],
)
def test_what_is_no_base_url_is_refused_without_being_quoted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_TRANSFORMATION__URL", url)
    with pytest.raises(SettingsError, match="url") as caught:
        load(Settings)
    assert "hunter2" not in str(caught.value)


def test_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("transformation: {url: https://from-file, tokenFile: /run/token, pollSeconds: 30}\n")
    monkeypatch.setenv("AMEIDE_SETTINGS_FILE", str(file))
    monkeypatch.setenv("AMEIDE_TRANSFORMATION__POLL_SECONDS", "15")
    loaded = load(Settings).transformation
    assert (loaded.url, loaded.token_file, loaded.poll_seconds) == ("https://from-file", Path("/run/token"), 15.0)


def test_each_setting_is_described() -> None:
    described = {setting.path: setting for setting in describe(Settings) if setting.path.startswith("transformation.")}
    assert {path.removeprefix("transformation.") for path in described} == {
        "url", "tokenFile", "caFile", "timeout", "attempts", "pollSeconds", "maxBytes",
    }  # fmt: skip
    assert all(setting.description for setting in described.values())
    assert described["transformation.pollSeconds"].default == "60"
